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
	doubt   bool   // frames may have been missed since
	astray  int    // frames that do not stand where the one before ends
	wire    []byte // reused
}

// Rebuilders makes one for each port in a status, by its framing.
func Rebuilders(s ipc.Status) (map[string]*Rebuilder, error) {
	all := map[string]*Rebuilder{}
	return all, adapt(all, s)
}

// adapt has rebuilders go on with the framing that ports have now.
func adapt(all map[string]*Rebuilder, s ipc.Status) error {
	for _, p := range s.Ports {
		var spec frame.Spec
		if err := json.Unmarshal(p.Framing, &spec); err != nil {
			return fmt.Errorf("framing of port %s in the status: %w", p.Name, err)
		}
		codec, err := frame.New(spec)
		if err != nil {
			return fmt.Errorf("framing of port %s in the status: %w", p.Name, err)
		}
		r := all[p.Name]
		if r == nil {
			r = &Rebuilder{wire: []byte{}}
			all[p.Name] = r
		}
		r.codec = codec
		r.between, r.skips = spec.Between()
	}
	return nil
}

// bytes are those of a frame, and in front of it those that framing has skipped; missing is how many bytes between it and the
// frame before are not known. The caller must not keep the bytes. Of a reader that did not say what it has skipped, what was
// before the first frame is not known either, and behind others what leaves little room is taken for that, unless frames may
// have been missed.
func (b *Rebuilder) bytes(r capture.Record) (wire []byte, missing uint64) {
	flags, _ := frame.ParseFlags(r.Flags) // one that is not known says nothing of bytes
	session := strings.TrimSuffix(r.ID, fmt.Sprintf(".%d", r.Offset))
	first := b.session == ""
	if session != b.session {
		b.next = 0
	}
	var room, skipped uint64
	if !first && r.Offset > b.next {
		room = r.Offset - b.next
	}
	switch {
	case !b.skips:
	case r.Skipped != capture.NotSaid && first:
		skipped = uint64(min(r.Skipped, frame.MaxSkip))
		room = skipped
	case r.Skipped != capture.NotSaid:
		skipped = min(room, uint64(r.Skipped), frame.MaxSkip)
	case room <= frame.MaxSkip && !b.doubt && flags&frame.Gap == 0:
		skipped = room
	}
	missing = room - skipped
	if session == b.session && flags&frame.Gap == 0 && (r.Offset < b.next || missing > 0) {
		b.astray++
	}
	b.wire = append(b.wire[:0], bytes.Repeat([]byte{b.between}, int(skipped))...)
	b.wire = b.codec.Append(b.wire, r.Payload, flags)
	// One that was stored late, after others, does not move the end back.
	b.session, b.next, b.doubt = session, max(b.next, r.Offset+uint64(len(b.wire))-skipped), false
	return b.wire, missing
}
