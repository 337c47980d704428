#!/usr/bin/env bash
# Kills, stops and unplugs at random what serialvisor consists of and lives with, under traffic, and accounts for every frame;
# docs/testing.md says what is expected. Arguments: -for 60s, -seed N, -ports 4, -only kept or lost.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
go build -o "$programs/" ./cmd/supervisor ./cmd/reader ./cmd/writer ./scripts/chaos

# Pseudo-terminals of its own, where that is allowed: a program that waits for one of a number would open ours.
as=()
[ "$(id -u)" = 0 ] || as=(--user --map-current-user)
apart=(unshare "${as[@]}" --mount --propagation private sh -c
  'mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts && mount --bind /dev/pts/ptmx /dev/ptmx && exec "$@"' sh)
if ! "${apart[@]}" true 2>/dev/null; then
  echo "chaos: other programs can open the simulated devices, as they cannot be set apart here" >&2
  apart=()
fi
"${apart[@]}" "$programs/chaos" -programs "$programs" "$@"
