package client

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Record is one message of the traffic: a frame received or sent, or a change of a port's state.
type Record struct {
	Time    time.Time
	Port    string
	Kind    string // rx, sent, state, expired: the last token of the subject
	ID      string // Nats-Msg-Id
	Offset  uint64 // rx: of the first byte since the port opened
	Flags   string // rx: as frame.Flags has them
	Reason  string // expired: why
	Payload []byte
}

// recordOf takes a message apart. Headers that are missing or broken are left zero: a tap shows what there is.
func recordOf(s ipc.Subjects, subject string, h nats.Header, payload []byte) (Record, bool) {
	port, kind, ok := s.Split(subject)
	if !ok {
		return Record{}, false
	}
	r := Record{
		Port: port, Kind: kind, Payload: payload, ID: h.Get(ipc.HeaderMsgID), Flags: h.Get(ipc.HeaderFlags), Reason: h.Get(ipc.HeaderReason),
	}
	r.Time, _ = time.Parse(time.RFC3339Nano, h.Get(ipc.HeaderTime))
	r.Offset, _ = strconv.ParseUint(h.Get(ipc.HeaderOffset), 10, 64)
	return r, true
}

// state decodes the payload of a change of state.
func (r Record) state() (ipc.PortState, error) {
	var s ipc.PortState
	err := json.Unmarshal(r.Payload, &s)
	return s, err
}
