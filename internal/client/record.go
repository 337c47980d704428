package client

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// recordOf takes a message apart. Headers that are missing or broken are left zero: a tap shows what there is.
func recordOf(s ipc.Subjects, subject string, h nats.Header, payload []byte) (capture.Record, bool) {
	port, kind, ok := s.Split(subject)
	if !ok {
		return capture.Record{}, false
	}
	r := capture.Record{
		Port: port, Kind: kind, Payload: payload, ID: h.Get(ipc.HeaderMsgID), Flags: h.Get(ipc.HeaderFlags), Reason: h.Get(ipc.HeaderReason),
	}
	r.Time, _ = time.Parse(time.RFC3339Nano, h.Get(ipc.HeaderTime))
	r.Offset, _ = strconv.ParseUint(h.Get(ipc.HeaderOffset), 10, 64)
	if n, err := strconv.ParseUint(h.Get(ipc.HeaderSkipped), 10, 31); err == nil {
		r.Skipped = int(n)
	} else {
		r.Skipped = capture.NotSaid
	}
	return r, true
}
