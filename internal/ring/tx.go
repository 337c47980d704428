package ring

import (
	"sync/atomic"

	"github.com/serialvisor/serialvisor/internal/crash"
)

// doneWord holds the sequence of a frame that was written.
type doneWord = atomic.Uint64

// States of the frame in hand.
const (
	idle    = 0
	inHand  = 1
	written = 2 // all of it, and it has not been told: of a frame that no queue hands out again
)

// Kind says where a frame to be sent comes from, for whoever must tell what became of it.
type Kind uint64

// The kinds.
const (
	Queued    Kind = iota // from a queue, which hands it out again until it is acknowledged
	Direct                // from a sender over plain NATS, who asks once
	Requested             // of a request
)

// Sending is a frame that is to be written.
type Sending struct {
	Kind Kind
	Seq  uint64 // in its queue; of others a number of their own
	Wire []byte // as it goes to the device
}

// Sender is the writer's side of the ring, for one goroutine at a time.
type Sender struct {
	ring *Ring
}

// Sender takes the writer's side over from a predecessor, or begins. inPipe is how many bytes are in the pipe. If a frame is
// in hand, Finish must come next.
func (r *Ring) Sender(inPipe int) *Sender {
	w := &r.h.writer
	w.fed.Store(fed(w.fed.Load(), w.feeding.Load(), uint64(inPipe)))
	w.feeding.Store(0)
	return &Sender{r}
}

func (s *Sender) words() *writerWords { return &s.ring.h.writer }

// InHand is the frame that was begun and not completed.
func (s *Sender) InHand() (Sending, bool) {
	f := s.frame()
	return f, s.words().state.Load() == inHand
}

func (s *Sender) frame() Sending {
	w := s.words()
	return Sending{Kind(w.kind.Load()), w.seq.Load(), s.ring.tx[:w.length.Load()]}
}

// Room is where a frame to be sent can be put together, as long as none is in hand.
func (s *Sender) Room() []byte { return s.ring.tx }

// Begin takes a frame in hand, which must fit into Room. From then on it is sent, whoever does it.
func (s *Sender) Begin(f Sending) {
	w := s.words()
	n := copy(s.ring.tx, f.Wire)
	w.kind.Store(uint64(f.Kind))
	w.seq.Store(f.Seq)
	w.length.Store(uint64(n))
	w.fed.Store(0)
	w.bytesBefore.Store(w.bytes.Load())
	w.framesBefore.Store(w.frames.Load())
	crash.Point("tx-prepared")
	w.state.Store(inHand)
	crash.Point("tx-begun")
}

// Rest is what of the frame in hand was not put into the pipe yet, at most most bytes of it.
func (s *Sender) Rest(most int) []byte {
	w := s.words()
	rest := s.ring.tx[w.fed.Load():w.length.Load()]
	return rest[:min(len(rest), most)]
}

// Feed puts bytes of Rest into the pipe, which must be empty, with write.
func (s *Sender) Feed(rest []byte, write func([]byte) (int, error)) (int, error) {
	w := s.words()
	before := w.fed.Load()
	w.feeding.Store(1 + before)
	n, err := write(rest)
	crash.Point("tx-fed")
	w.fed.Store(before + uint64(max(n, 0)))
	crash.Point("tx-noted")
	w.feeding.Store(0)
	return n, err
}

// Written notes that the device's driver has taken n bytes of the frame in hand so far.
func (s *Sender) Written(n int) {
	w := s.words()
	w.bytes.Store(w.bytesBefore.Load() + uint64(n))
}

// Complete lets go of the frame in hand, of which every byte was taken. A kill in between has it done again, to the same end.
func (s *Sender) Complete() {
	w := s.words()
	if Kind(w.kind.Load()) == Queued {
		s.slot(w.seq.Load()).Store(w.seq.Load())
	}
	crash.Point("tx-done")
	w.bytes.Store(w.bytesBefore.Load() + w.length.Load())
	w.frames.Store(w.framesBefore.Load() + 1)
	if Kind(w.kind.Load()) == Queued {
		w.state.Store(idle)
	} else {
		w.state.Store(written)
	}
}

// Untold is a frame that was completed and of which Told was not called, unless a queue hands it out again.
func (s *Sender) Untold() (Sending, bool) {
	f := s.frame()
	return f, s.words().state.Load() == written
}

// Told notes that everybody knows that the last frame was written.
func (s *Sender) Told() {
	s.words().state.CompareAndSwap(written, idle)
}

// Frames is how many frames were written.
func (s *Sender) Frames() uint64 { return s.words().frames.Load() }

// slot is where it is noted that a queued frame was written. Another frame with the same place may have it meanwhile, so
// that of two such frames the first must be acknowledged before the second is written.
func (s *Sender) slot(seq uint64) *doneWord { return &s.ring.done[seq%doneLen] }

// Done says whether a queued frame was written.
func (s *Sender) Done(seq uint64) bool { return s.Noted(seq) == seq }

// Noted is the frame whose place the note takes that a queued frame was written; 0: none.
func (s *Sender) Noted(seq uint64) uint64 { return s.slot(seq).Load() }

// Source is the queue whose sequences the memory knows, as Adopt was told.
func (r *Ring) Source() uint64 { return r.h.writer.source.Load() }

// Adopt begins with another queue than before, whose sequences are its own. written are those that were written all the
// same, as the history tells. Only while no writer runs.
func (r *Ring) Adopt(source uint64, written []uint64) {
	w := &r.h.writer
	w.source.Store(0) // until all is noted
	for i := range r.done {
		r.done[i].Store(0)
	}
	if Kind(w.kind.Load()) == Queued {
		w.state.Store(idle)
	}
	for _, seq := range written {
		r.done[seq%doneLen].Store(seq)
	}
	w.source.Store(source)
}
