#!/usr/bin/env bash
# Kills, stops and unplugs at random what serialvisor consists of and lives with, under traffic, and accounts for every frame;
# docs/testing.md says what is expected. Arguments: -for 60s, -seed N, -ports 4, -only kept or lost.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
go build -o "$programs/" ./cmd/supervisor ./cmd/reader ./cmd/writer ./scripts/chaos
"$programs/chaos" -programs "$programs" "$@"
