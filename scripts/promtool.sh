#!/usr/bin/env bash
# Checks and tests the alert rules in packaging/prometheus with Prometheus' own promtool. Where it is missing it is unpacked,
# not installed, from the Debian package into $XDG_CACHE_HOME/serialvisor-promtool: the package would start a service.
set -euo pipefail
cd "$(dirname "$0")/../packaging/prometheus"
fail() { echo "promtool: $1" >&2; exit 1; }

cache=${XDG_CACHE_HOME:-$HOME/.cache}/serialvisor-promtool
promtool=$(command -v promtool || echo "$cache/promtool")
if [ ! -x "$promtool" ]; then
  command -v apt-get >/dev/null || fail "promtool is missing, and there is no apt-get: install Prometheus"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work" # apt downloads as a user of its own
  [ "$(id -u)" != 0 ] || apt-get update -qq
  (cd "$work" && apt-get download -qq prometheus 2>/dev/null) || fail "the Debian package prometheus cannot be had: apt-get update, then try again"
  dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
  mkdir -p "$cache"
  mv "$work/usr/bin/promtool" "$promtool"
fi
"$promtool" check rules alerts.yaml
"$promtool" test rules alerts_test.yaml
