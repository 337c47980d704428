#!/usr/bin/env bash
# Runs many gateways and a hub of three servers on one machine, in network namespaces, cuts and black-holes links and kills a
# server of the hub under traffic, accounts for every line, and prints a table in Markdown. Needs root and iproute2. Arguments:
# -gateways 20, -ports 8, -rate 5 (lines a second and port), -cut 60s, -steady 30s.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "fleet: network namespaces need root" >&2; exit 1; }
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
go build -o "$programs/" ./cmd/supervisor ./cmd/reader ./cmd/writer ./scripts/fleet github.com/nats-io/nats-server/v2
mv "$programs/fleet" "$programs/trial"
mv "$programs/nats-server" "$programs/hub"
"$programs/trial" -programs "$programs" "$@"
