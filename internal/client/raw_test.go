package client

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Guards that bytes which are not known are not made up: once a tap wrote 80 MB of delimiters for what it had missed.
func TestRebuilderInventsNothing(t *testing.T) {
	const unsaid = capture.NotSaid
	for _, c := range []struct {
		framing string
		room    uint64 // between two frames
		doubt   bool
		session string // of the second
		flags   string
		skipped int // as the second says
		filled  int
		missing uint64
		astray  int
	}{
		{frame.Slip, 0, false, "a", "", unsaid, 0, 0, 0},
		{frame.Slip, 2, false, "a", "", unsaid, 2, 0, 0},
		{frame.Slip, frame.MaxSkip, false, "a", "", unsaid, frame.MaxSkip, 0, 0},
		{frame.Slip, frame.MaxSkip + 1, false, "a", "", unsaid, 0, frame.MaxSkip + 1, 1},
		{frame.Cobs, 80 << 20, false, "a", "", unsaid, 0, 80 << 20, 1},
		{frame.Slip, 2, true, "a", "", unsaid, 0, 2, 1},
		{frame.Slip, 2, false, "a", "gap", unsaid, 0, 2, 0},
		{frame.Slip, 3, false, "b", "", unsaid, 3, 0, 0},
		{frame.Slip, 80 << 20, false, "b", "", unsaid, 0, 80 << 20, 0},
		{frame.Slip, 2, false, "a", "", 2, 2, 0, 0},
		{frame.Slip, 2, true, "a", "", 2, 2, 0, 0},
		{frame.Slip, 80, false, "a", "", 1, 1, 79, 1},
		{frame.Cobs, 80, false, "a", "", 0, 0, 80, 1},
		{frame.Cobs, 80 << 20, false, "b", "", 1, 1, 80<<20 - 1, 0},
		{frame.Slip, 0, false, "a", "", 7, 0, 0, 0},
		{frame.Line, 0, false, "a", "", unsaid, 0, 0, 0},
		{frame.Line, 7, false, "a", "", unsaid, 0, 7, 1},
		{frame.Line, 7, true, "b", "", unsaid, 0, 7, 0},
	} {
		spec := frame.Spec{Type: c.framing, MaxBytes: 100}
		if c.framing == frame.Line {
			spec.Delimiter = []byte("\n")
		}
		framing, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		all, err := Rebuilders(ipc.Status{Ports: []ipc.PortStatus{{Name: "gps", Framing: framing}}})
		if err != nil {
			t.Fatal(err)
		}
		b := all["gps"]
		record := func(session string, offset uint64, flags string, skipped int) capture.Record {
			return capture.Record{Skipped: skipped, ID: fmt.Sprintf("gps.%s.%d", session, offset), Offset: offset, Flags: flags, Payload: []byte("abc")}
		}
		first, missing := b.bytes(record("a", 1000, "", unsaid))
		size := len(first)
		if missing != 0 {
			t.Errorf("%+v: %d bytes are missing before the first frame", c, missing)
		}
		next := c.room
		if c.session == "a" {
			next += 1000 + uint64(size)
		}
		b.doubt = c.doubt
		wire, missing := b.bytes(record(c.session, next, c.flags, c.skipped))
		if len(wire) != c.filled+size || missing != c.missing || b.astray != c.astray {
			t.Errorf("%+v: %d bytes, %d missing, %d astray", c, len(wire), missing, b.astray)
		}
		// One that the history has got late.
		_, _ = b.bytes(record(c.session, next-min(next, 1), c.flags, unsaid))
		if _, missing := b.bytes(record(c.session, next+uint64(size), "", unsaid)); missing != 0 {
			t.Errorf("%+v: %d bytes are missing behind a frame that came late", c, missing)
		}
	}
}
