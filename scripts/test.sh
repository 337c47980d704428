#!/usr/bin/env bash
# Runs every test with the race detector. Arguments go to go test: scripts/test.sh -run Tap ./cmd/...
set -euo pipefail
cd "$(dirname "$0")/.."
command -v gcc >/dev/null || { echo "test: the race detector needs a C compiler: apt-get install gcc" >&2; exit 1; }
if [ $# -eq 0 ]; then set -- ./...; fi
exec go test -race -timeout 15m "$@"
