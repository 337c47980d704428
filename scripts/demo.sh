#!/usr/bin/env bash
# Builds serialvisor into bin/ and runs it with simulated devices. Arguments go to supervisor demo.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || { echo "demo: Go 1.26 or later is needed: https://go.dev/dl/" >&2; exit 1; }
go build -o bin/ ./cmd/...
exec bin/supervisor demo "$@"
