#!/usr/bin/env bash
# Measures serialvisor side by side with a Python program, ser2net and socat, and prints tables. Arguments: -rounds 3,
# -lines 400, -cpu 60s, -only peers, requests, kills, ports, gaps, workers, busy, idle or output.
set -euo pipefail
cd "$(dirname "$0")/.."
go build -o bin/ ./cmd/...
exec go run ./scripts/bench "$@"
