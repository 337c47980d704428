#!/usr/bin/env bash
# What a reviewer would look at first: formatting, vet, staticcheck, who imports whom, and what must not be committed.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
fail() { echo "check: $1" >&2; bad=1; }

unformatted=$(gofmt -l cmd examples internal scripts worker)
[ -z "$unformatted" ] || fail "gofmt would change: $unformatted"

go vet ./...

# The version is fixed, so that a new release does not turn the check red overnight.
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
go run "$staticcheck" ./...

module=$(go list -m)
# Who may import which siblings, as docs/architecture.md has it. A package that is not listed fails.
declare -A may=(
  [internal/frame]=""
  [internal/serialio]=""
  [internal/ipc]=""
  [internal/crash]=""
  [internal/systemd]=""
  [internal/servicemanager]=""
  [internal/interrupt]=""
  [internal/ring]="internal/crash"
  [internal/printout]=""
  [internal/simulator]=""
  [internal/capture]=""
  [internal/publish]=""
  [internal/stdio]="internal/ipc"
  [internal/process]=""
  [internal/devices]="internal/serialio"
  [internal/config]="internal/frame internal/serialio internal/devices internal/ipc"
  [internal/doctor]="internal/config internal/devices internal/serialio internal/ipc"
  [internal/broker]="internal/ipc"
  [internal/worker]="internal/ipc internal/ring internal/serialio"
  [internal/reader]="internal/worker internal/publish internal/ipc internal/ring internal/crash internal/serialio internal/frame"
  [internal/writer]="internal/worker internal/publish internal/ipc internal/ring internal/crash internal/serialio internal/frame"
  [internal/telemetry]="internal/ipc internal/broker"
  [internal/fleet]="internal/ipc internal/broker internal/publish"
  [internal/supervisor]="internal/config internal/serialio internal/devices internal/systemd internal/ipc internal/process internal/stdio internal/ring internal/broker internal/frame internal/telemetry internal/printout internal/fleet"
  [internal/client]="internal/ipc internal/frame internal/capture"
  [cmd/reader]="internal/reader internal/worker"
  [cmd/writer]="internal/writer internal/worker"
  [cmd/supervisor]="internal/interrupt internal/supervisor internal/client internal/capture internal/config internal/simulator internal/devices internal/doctor internal/serialio internal/ipc internal/frame"
  [worker]="internal/ipc"
  [examples/alarm]="worker"
  [scripts/usage]=""
  [scripts/bench]="internal/ipc internal/simulator scripts/usage"
  [scripts/fleet]="internal/ipc internal/simulator scripts/usage"
  [scripts/chaos]="internal/ipc internal/servicemanager internal/simulator"
  [scripts/hwtest/order]=""
  [scripts/hwtest/host]="scripts/hwtest/order"
  [scripts/hwtest/guest]="internal/ipc internal/printout scripts/hwtest/order"
)
while read -r package imports; do
  package=${package#"$module"/}
  if [ -z "${may[$package]+listed}" ]; then
    fail "$package is not in the table of imports; add it to scripts/check.sh and docs/architecture.md"
    continue
  fi
  for import in $imports; do
    case $import in "$module"/*) import=${import#"$module"/} ;; *) continue ;; esac
    case " ${may[$package]} " in *" $import "*) ;; *) fail "$package must not import $import" ;; esac
  done
done < <(go list -f '{{.ImportPath}} {{join .Imports " "}}' ./...)

while read -r lines file; do
  [ "$file" = total ] || [ "$lines" -le 400 ] || fail "$file has $lines lines; split it where a reader would guess"
done < <(git ls-files -co --exclude-standard '*.go' | xargs wc -l)

if shellcheck=$(command -v shellcheck); then
  "$shellcheck" scripts/*.sh examples/*.sh scripts/hwtest/init .ci/run
else
  echo "check: shell scripts were not checked: apt-get install shellcheck" >&2
fi

go mod tidy -diff || fail "go.mod is not tidy: go mod tidy"
[ "$bad" = 0 ] && echo "check: good"
exit "$bad"
