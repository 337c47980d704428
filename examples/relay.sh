#!/bin/sh
# Queues each line that one port receives for another, with `>` in front of it. Takes the nats command:
# go install github.com/nats-io/natscli/nats@latest
#
#   workers:
#     relay:
#       command: [./relay.sh, gps, display]
#       role: send
set -eu
from=$1 to=$2
root=${SERIALVISOR_ROOT:-serial}

# nats takes NATS_URL, NATS_USER and NATS_PASSWORD out of the environment, but not the inbox prefix. The request makes sure that the
# queue has the line.
nats sub --raw "$root.$from.rx" | while IFS= read -r line; do
	answer=$(nats req --raw --no-templates --inbox-prefix "${NATS_INBOX_PREFIX:-_INBOX}" "$root.$to.tx" "> $line" </dev/null)
	case $answer in
	*'"error"'* | '') echo "<4>port $to: not queued: $answer" >&2 ;;
	esac
done
