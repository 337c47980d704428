package ring

import (
	"sync/atomic"
	"time"
)

// MaxUntil is the limit of Awaited.Until, in bytes.
const MaxUntil = 1024

// Awaited is the answer that the device owes to a request, and its terms.
type Awaited struct {
	Mark    Mark          // where listening began
	Timeout time.Duration // within which it comes, once the frame was written
	Gap     time.Duration // of silence that ends it; 0: none does
	Frames  int           // that it has; 0: any number
	Until   string        // a regular expression that matches its last frame; empty: any frame does
	// Deadline is when it comes no more, on the clock of Now; 0: its frame was not wholly written yet.
	Deadline time.Duration
}

// awaitedWords are the writer's, or between sessions the supervisor's. They outlive a writer: what one has asked, the device
// answers its successor.
type awaitedWords struct {
	state    atomic.Uint64 // 1: an answer is awaited
	deadline atomic.Uint64
	offset   atomic.Uint64
	frame    atomic.Uint64
	timeout  atomic.Uint64
	gap      atomic.Uint64
	frames   atomic.Uint64
	_        uint64
	until    [MaxUntil / 8]atomic.Uint64
}

// Await notes that the frame which is begun next will be answered. A killed writer's successor learns it from Awaited.
func (s *Sender) Await(a Awaited) {
	w := &s.ring.h.awaited
	w.deadline.Store(uint64(a.Deadline))
	w.offset.Store(a.Mark.offset)
	w.frame.Store(a.Mark.frame)
	w.timeout.Store(uint64(a.Timeout))
	w.gap.Store(uint64(a.Gap))
	w.frames.Store(uint64(a.Frames))
	storeText(w.until[:], a.Until)
	w.state.Store(1)
}

// AwaitFrom notes that the frame was written, so that its answer comes within Timeout from now. It must follow Complete,
// and come before Told.
func (s *Sender) AwaitFrom(now time.Duration) {
	w := &s.ring.h.awaited
	w.deadline.Store(uint64(now) + w.timeout.Load())
}

// Awaited is the answer that is awaited, if one is.
func (s *Sender) Awaited() (a Awaited, ok bool) {
	w := &s.ring.h.awaited
	if w.state.Load() == 0 {
		return a, false
	}
	return Awaited{
		Mark:    Mark{w.offset.Load(), w.frame.Load()},
		Timeout: time.Duration(w.timeout.Load()), Gap: time.Duration(w.gap.Load()), Frames: int(w.frames.Load()),
		Until: loadText(w.until[:]), Deadline: time.Duration(w.deadline.Load()),
	}, true
}

// AwaitNothing notes that the answer has come, or is given up.
func (s *Sender) AwaitNothing() { s.ring.h.awaited.state.Store(0) }
