#!/usr/bin/env bash
# Tests with a real systemd that devices stay open while the supervisor is killed, restarted and upgraded, and that workers are
# kept in the control group that it delegates. It runs systemd in namespaces of its own, where nothing of it touches this
# machine; that takes root. It prints "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "systemdtest: $1" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "it needs root, for namespaces and cgroups: sudo $0"
systemd=/lib/systemd/systemd
[ -x "$systemd" ] || fail "there is no systemd: apt-get install systemd"
command -v socat >/dev/null || fail "there is no socat: apt-get install socat"

work=$(mktemp -d /var/tmp/serialvisor-systemdtest.XXXXXX)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do { kill -9 "$pid" && wait "$pid"; } 2>/dev/null || true; done
  wait "${pids[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
go build -o "$work/bin/" ./cmd/...
lost=77$$.5 # seconds that a process sleeps which has left its family in every way; it is known by them

cat >"$work/c.yaml" <<YAML
broker: {listen: "127.0.0.1:0"}
ports: {dev: {device: $work/dev}}
workers: {far: {command: "env -i setsid sleep $lost & exec sleep 1000", role: tap, stop_timeout: 1s}}
YAML
# The service as it is shipped, with other paths and as root.
sed -e "s|^ExecStart=.*|ExecStart=$work/bin/supervisor run --config $work/c.yaml --state-dir $work/state|" \
  -e "/^User=/d; /^StateDirectory=/d; /^PrivateTmp/d; s|^\[Service\]|[Service]\nReadWritePaths=$work\nStandardError=append:$work/log|" \
  -e "s|^\[Unit\]|[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0|" packaging/systemd/serialvisor.service >"$work/serialvisor.service"
cat >"$work/inside.sh" <<INSIDE
set -e
mount --make-rprivate /
mount -t tmpfs tmp /run
mount -t tmpfs tmp /tmp
mkdir -p /run/systemd/system /run/lock
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
cp "$work/serialvisor.service" /run/systemd/system/
printf '[Unit]\nDefaultDependencies=no\nWants=serialvisor.service\n' >/run/systemd/system/serialvisor-test.target
exec env container=lxc $systemd --system --unit=serialvisor-test.target --log-target=console
INSIDE

socat "PTY,link=$work/dev,raw,echo=0" "PTY,link=$work/other,raw,echo=0" >/dev/null 2>&1 &
pids+=($!)
until [ -e "$work/dev" ] && [ -e "$work/other" ]; do sleep 0.1; done
unshare --fork --pid --kill-child --mount --mount-proc --cgroup bash "$work/inside.sh" >"$work/systemd.log" 2>&1 &
pids+=($!)

passed=0 failed=0
check() { # check NAME COMMAND...: the command succeeds within 20 s
  local name=$1 end=$((SECONDS + 20))
  shift
  while ! "$@"; do
    if [ "$SECONDS" -ge "$end" ]; then
      failed=$((failed + 1))
      echo "failed  $name"
      return
    fi
    sleep 0.1
  done
  passed=$((passed + 1))
  echo "passed  $name"
}
status() { "$work/bin/supervisor" status --json --state-dir "$work/state" 2>/dev/null; }
field() { status | grep -o "\"$1\":\"\?[^\",}]*" | head -1 | sed 's/.*[:"]//'; }
is_open() { status | grep -q '"state":"open"'; }
# In its namespace the supervisor has another pid than here.
supervisor_pid() { pgrep -f "^$work/bin/supervisor run"; }
same_session() { [ "$(supervisor_pid)" != "$pid" ] && is_open && [ "$(field session)" = "$session" ]; }
has_lines() { [ "$(timeout 5 "$work/bin/supervisor" tap dev --raw --since 1h -n "$1" --state-dir "$work/state" 2>/dev/null)" = "$(seq -f 'line %g' "$1")" ]; }

check "the port opens in a service of systemd" is_open
session=$(field session)
for n in 1 2 3 4 5; do
  pid=$(supervisor_pid)
  echo "line $n" >"$work/other"
  kill -9 "$pid"
  check "kill -9 number $n: the next supervisor goes on with the device as it is" same_session
done
check "no line is lost or doubled" has_lines 5
grouped() { [ "$(find /sys/fs/cgroup -type d -name 'family-*.far.*' 2>/dev/null | wc -l)" = 1 ] && [ "$(pgrep -fxc "sleep $lost")" = 1 ]; }
none_lost() { ! pgrep -fx "sleep $lost" >/dev/null; }
control() { "$work/bin/supervisor" "$@" --state-dir "$work/state" >/dev/null; }
check "a worker's family is in a control group of its own" grouped
check "the worker is stopped" control stop far
check "nothing of it is left" none_lost
check "the worker is started" control start far
check "its family is there again" grouped
pid=$(supervisor_pid)
upgraded() { [ "$(supervisor_pid)" = "$pid" ] && is_open && [ "$(field session)" = "$session" ] && status | grep -q '"uptime_seconds":[0-4]\.'; }
check "the supervisor is upgraded" control upgrade
check "it is the same process, with the same session" upgraded
check "there is one family again" grouped
if [ "$failed" -gt 0 ]; then cat "$work/log" "$work/systemd.log" >&2; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
