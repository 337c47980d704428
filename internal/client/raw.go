package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Rebuilder makes of a port's received frames the bytes that they were on the line.
type Rebuilder struct {
	codec   frame.Codec
	between byte // what framing skips
	skips   bool
	session string // of the frame before; empty: there was none
	next    uint64 // offset behind it
	astray  int    // frames that do not stand where the one before ends
	wire    []byte // reused
}

// Rebuilders makes one for each port in a status, by its framing.
func Rebuilders(s ipc.Status) (map[string]*Rebuilder, error) {
	all := map[string]*Rebuilder{}
	for _, p := range s.Ports {
		var spec frame.Spec
		if err := json.Unmarshal(p.Framing, &spec); err != nil {
			return nil, fmt.Errorf("framing of port %s in the status: %w", p.Name, err)
		}
		codec, err := frame.New(spec)
		if err != nil {
			return nil, fmt.Errorf("framing of port %s in the status: %w", p.Name, err)
		}
		r := &Rebuilder{codec: codec, wire: []byte{}}
		r.between, r.skips = spec.Between()
		all[p.Name] = r
	}
	return all, nil
}

// bytes are those of a frame, and in front of it those that framing has skipped. The caller must not keep them. What was
// skipped before the first frame is not known.
func (b *Rebuilder) bytes(r capture.Record) []byte {
	flags, _ := frame.ParseFlags(r.Flags) // one that is not known says nothing of bytes
	session := strings.TrimSuffix(r.ID, fmt.Sprintf(".%d", r.Offset))
	if session != b.session {
		b.next = 0
	}
	if session == b.session && flags&frame.Gap == 0 && (r.Offset < b.next || r.Offset > b.next && !b.skips) {
		b.astray++
	}
	b.wire = b.wire[:0]
	if b.skips && b.session != "" && flags&frame.Gap == 0 && r.Offset > b.next {
		b.wire = append(b.wire, bytes.Repeat([]byte{b.between}, int(r.Offset-b.next))...)
	}
	skipped := len(b.wire)
	b.wire = b.codec.Append(b.wire, r.Payload, flags)
	b.session, b.next = session, r.Offset+uint64(len(b.wire)-skipped)
	return b.wire
}
