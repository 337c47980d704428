#!/usr/bin/env bash
# Runs every test with the race detector. Arguments go to go test: scripts/test.sh -run Tap ./cmd/...
set -euo pipefail
cd "$(dirname "$0")/.."
command -v gcc >/dev/null || { echo "test: the race detector needs a C compiler: apt-get install gcc" >&2; exit 1; }
command -v mosquitto_pub >/dev/null || { echo "test: what MQTT does is tested with a stock client: apt-get install mosquitto-clients" >&2; exit 1; }
command -v tshark >/dev/null || echo "test: NOT TESTED whether Wireshark opens exported files: apt-get install --no-install-recommends tshark" >&2
if [ $# -eq 0 ]; then set -- ./...; fi
exec go test -race -timeout 25m "$@"
