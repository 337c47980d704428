package worker

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Frame is what a port has received in one piece, as its framing cuts it.
type Frame struct {
	Port string
	// Data has no delimiter. It belongs to who gets the frame.
	Data []byte
	// Time is when its last byte was read, in UTC, with nanoseconds.
	Time time.Time
	// Offset is that of its first byte since the port opened.
	Offset uint64
	// Flags has what is notable, comma-joined; mostly nothing. "partial": its end is missing, as silence came or the port closed; "continued": the
	// next frame goes on with it, as it was too long for one; "gap": bytes were lost before it; further ones in docs/configuration.md.
	Flags string
	// ID names the frame: <port>.<session>.<offset>. A session begins when the port opens.
	ID string
}

// Has says whether one of Flags is set.
func (f Frame) Has(flag string) bool { return slices.Contains(strings.Split(f.Flags, ","), flag) }

// String is Data as text.
func (f Frame) String() string { return string(f.Data) }

// frameOf takes a message apart.
func frameOf(s ipc.Subjects, m item) Frame {
	f := Frame{Data: m.data, Flags: m.header.Get(ipc.HeaderFlags), ID: m.header.Get(ipc.HeaderMsgID)}
	f.Port, _, _ = s.Split(m.subject)
	f.Time, _ = time.Parse(time.RFC3339Nano, m.header.Get(ipc.HeaderTime))
	f.Offset, _ = strconv.ParseUint(m.header.Get(ipc.HeaderOffset), 10, 64)
	return f
}

// repeats remembers the ids of the last frames: one that a reader publishes again after a crash follows within its window.
type repeats struct {
	ids  [8192]string
	next int
	set  map[string]struct{}
}

// seen says whether id has come before, and remembers it.
func (s *repeats) seen(id string) bool {
	if id == "" {
		return false
	}
	if s.set == nil {
		s.set = map[string]struct{}{}
	}
	if _, ok := s.set[id]; ok {
		return true
	}
	delete(s.set, s.ids[s.next])
	s.ids[s.next] = id
	s.next = (s.next + 1) % len(s.ids)
	s.set[id] = struct{}{}
	return false
}
