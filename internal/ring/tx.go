package ring

import (
	"github.com/serialvisor/serialvisor/internal/crash"
)

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

// Sender is the writer's side of the ring, for one goroutine at a time, apart from what concerns the queue alone: HandedOut,
// Settled and Done.
type Sender struct {
	ring     *Ring
	notes    notes
	reserved bool // a place for the next note, which is in the words
}

// Sender takes the writer's side over from a predecessor, or begins. inPipe is how many bytes are in the pipe. If a frame is
// in hand, Finish must come next.
func (r *Ring) Sender(inPipe int) *Sender {
	w := &r.h.writer
	w.fed.Store(fed(w.fed.Load(), w.feeding.Load(), uint64(inPipe)))
	w.feeding.Store(0)
	s := &Sender{ring: r, notes: notes{table: r.notes}}
	seq := uint64(0)
	if f, ok := s.InHand(); ok && f.Kind == Queued {
		seq = f.Seq
	}
	s.notes.load(int(w.place.Load()), seq)
	return s
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

// Reserve makes room for the note that the next queued frame was written. It must be called before such a frame is begun. If it
// returns false, too many were written that are not acknowledged.
func (s *Sender) Reserve() bool {
	if s.reserved {
		return true
	}
	place, ok := s.notes.take()
	if ok {
		s.words().place.Store(uint64(place))
		s.reserved = true
	}
	return ok
}

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
		s.notes.put(int(w.place.Load()), w.seq.Load())
		s.reserved = false
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

// HandedOut notes that the queue has handed out a frame, which it does in the order of their sequences.
func (s *Sender) HandedOut(seq uint64) { s.notes.handedOut(seq) }

// Handled notes that of the first n frames that the queue has handed out none is with the writer any more, or will be.
func (s *Sender) Handled(n uint64) { s.words().handled.Store(n) }

// Handled is what a Sender has noted so.
func (r *Ring) Handled() uint64 { return r.h.writer.handled.Load() }

// ForgetHandled begins anew, for a writer to which the queue hands out from the start. Only while no writer runs.
func (r *Ring) ForgetHandled() { r.h.writer.handled.Store(0) }

// Done says whether a frame that the queue has handed out was written.
func (s *Sender) Done(seq uint64) bool { return s.notes.has(seq) }

// Settled notes that a frame was acknowledged, so that the queue will not hand it out again.
func (s *Sender) Settled(seq uint64) { s.notes.settled(seq) }

// Source is the queue whose sequences the memory knows, as Adopt was told.
func (r *Ring) Source() uint64 { return r.h.writer.source.Load() }

// Adopt begins with another queue than before, whose sequences are its own. written are those that were written all the
// same, in that order, as the history tells. moved says where frames of the queue before are in this one, by their sequences
// there: what the memory knows of them holds on. Only while no writer runs.
func (r *Ring) Adopt(source uint64, written []uint64, moved map[uint64]uint64) {
	w := &r.h.writer
	w.source.Store(0) // until all is noted
	for i := range r.notes {
		if seq, ok := moved[r.notes[i].Load()]; ok {
			written = append(written, seq)
		}
		r.notes[i].Store(0)
	}
	written = written[max(0, len(written)-notesLen+1):]
	if Kind(w.kind.Load()) == Queued {
		if seq, ok := moved[w.seq.Load()]; ok && w.state.Load() == inHand {
			w.seq.Store(seq)
			w.place.Store(uint64(len(written)))
		} else {
			w.state.Store(idle)
		}
	}
	for i, seq := range written {
		r.notes[i].Store(seq)
	}
	w.source.Store(source)
}
