package fleet

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// flightOf makes of a message of the history one for the hub, with the same headers. It returns nil for what is not of a port.
func (u *Uplink) flightOf(m jetstream.Msg) (*flight, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("the history: %w", err)
	}
	seq := meta.Sequence.Stream
	subject, ok := u.onHub(m.Subject())
	if !ok {
		return &flight{seq: seq}, nil
	}
	place := u.of + "." + strconv.FormatUint(seq, 10)
	return &flight{seq: seq, subject: subject, header: u.headerOf(m.Headers(), place), data: m.Data()}, nil
}

// onHub is the subject on the hub for one of the gateway.
func (u *Uplink) onHub(local string) (string, bool) {
	port, kind, ok := u.Local.Split(local)
	if !ok || strings.Contains(kind, ".") {
		return "", false
	}
	return u.Hub.Port(port) + "." + kind, true
}

// headerOf copies headers. What tells a server to do something was done by the gateway's own; ids are made the gateway's, and what
// has none, such as states, is known by its place in the history, if there is one.
func (u *Uplink) headerOf(first nats.Header, place string) nats.Header {
	h := nats.Header{}
	for key, values := range first {
		if !strings.HasPrefix(key, "Nats-") {
			h[key] = values
		}
	}
	if id := cmp.Or(first.Get(ipc.HeaderMsgID), place); id != "" {
		h[ipc.HeaderMsgID] = []string{u.Hub.Name + "." + id}
	}
	if place != "" {
		h[ipc.HeaderHistorySeq] = []string{place}
	}
	return h
}

// placeOf is up to where a message on the hub says that the hub has all, of which incarnation of the history.
func placeOf(h nats.Header) (incarnation string, seq uint64) {
	incarnation, text, _ := strings.Cut(h.Get(ipc.HeaderHistorySeq), ".")
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return "", 0
	}
	if upTo, err := strconv.ParseUint(h.Get(ipc.HeaderHistoryUpTo), 10, 64); err == nil {
		seq = max(seq, upTo)
	}
	return incarnation, seq
}
