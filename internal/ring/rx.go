package ring

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/serialvisor/serialvisor/internal/crash"
)

// Receiver is the reader's side of the ring. One goroutine uses it, apart from Stored and Forwarded.
//
//	… oldest that is not settled ───── frames ───── cut ── data ── head … free …
type Receiver struct {
	ring   *Ring
	cut    uint64 // offset of the end of the last frame
	inPipe int
	marks  []*atomic.Uint64 // who must have settled a frame before its room is used again
}

// Frame is a frame in the index.
type Frame struct {
	Number uint64 // of the session, from 0
	Offset uint64 // of its first byte in the session
	Skip   int    // bytes between the frame before and it
	Wire   []byte // as it was on the line, with its delimiter; valid until it is settled
	Time   time.Time
	Flags  uint8
}

// Receiver takes the reader's side over from a predecessor, or begins. targets are the ports that frames are forwarded to, of
// those that SetTargets has named, and inPipe is how many bytes are in the pipe.
func (r *Ring) Receiver(targets []string, inPipe int) (*Receiver, error) {
	w := &r.h.reader
	w.head.Store(received(w.head.Load(), w.intent.Load(), uint64(inPipe)))
	w.intent.Store(0)
	x := &Receiver{ring: r, inPipe: inPipe, marks: []*atomic.Uint64{&w.stored}}
	for _, port := range targets {
		mark, err := r.mark(port)
		if err != nil {
			return nil, err
		}
		x.marks = append(x.marks, mark)
	}
	if n := w.framed.Load(); n > 0 {
		e := r.index[(n-1)%indexLen]
		x.cut = e.start + uint64(e.size)
	}
	return x, nil
}

func (x *Receiver) words() *readerWords { return &x.ring.h.reader }

// Data is what was received and is no frame yet, in one piece.
func (x *Receiver) Data() []byte { return x.at(x.cut, int(x.words().head.Load()-x.cut)) }

// Offset is that of the first byte of Data in the session.
func (x *Receiver) Offset() uint64 { return x.cut }

// at is a part of the ring, which is mapped twice.
func (x *Receiver) at(offset uint64, n int) []byte {
	start := int(offset % uint64(len(x.ring.rx)/2))
	return x.ring.rx[start : start+n : start+n]
}

// unsettled is the number of the oldest frame that somebody has not settled.
func (x *Receiver) unsettled() uint64 {
	n := x.marks[0].Load()
	for _, m := range x.marks[1:] {
		n = min(n, m.Load())
	}
	return n
}

// oldest is the offset of the first byte whose room is in use.
func (x *Receiver) oldest() uint64 {
	if n := x.unsettled(); n < x.words().framed.Load() {
		e := x.ring.index[n%indexLen]
		return e.start - uint64(e.skip)
	}
	return x.cut
}

// Free is where the next bytes go, in one piece.
func (x *Receiver) Free() []byte {
	head := x.words().head.Load()
	return x.at(head, len(x.ring.rx)/2-int(head-x.oldest()))
}

// CanAdd says whether the index has room for one more frame.
func (x *Receiver) CanAdd() bool { return x.words().framed.Load()-x.unsettled() < indexLen }

// Piped notes that n bytes have come into the pipe.
func (x *Receiver) Piped(n int) { x.inPipe += n }

// InPipe is how many bytes are in the pipe.
func (x *Receiver) InPipe() int { return x.inPipe }

// Take moves bytes from the pipe to the ring with read, which reads from the pipe into the given room.
func (x *Receiver) Take(read func(room []byte) (int, error)) error {
	w := x.words()
	room := x.Free()
	head := w.head.Load()
	w.intent.Store(1 + head + uint64(x.inPipe))
	n, err := read(room[:min(len(room), x.inPipe)])
	crash.Point("rx-taken")
	if n > 0 {
		w.head.Store(head + uint64(n))
		x.inPipe -= n
	}
	crash.Point("rx-noted")
	w.intent.Store(0)
	return err
}

// Add cuts a frame of size bytes from the data, behind skip bytes of none. From then on it is the same frame, whoever
// publishes it. There must be room, see CanAdd.
func (x *Receiver) Add(skip, size int, at time.Time, flags uint8) Frame {
	w := x.words()
	n := w.framed.Load()
	x.ring.index[n%indexLen] = entry{x.cut + uint64(skip), uint32(skip), uint32(size), at.UnixNano(), uint64(flags)}
	crash.Point("rx-cut")
	w.framed.Store(n + 1)
	x.cut += uint64(skip + size)
	return x.frame(n)
}

func (x *Receiver) frame(n uint64) Frame {
	e := x.ring.index[n%indexLen]
	return Frame{n, e.start, int(e.skip), x.at(e.start, int(e.size)), time.Unix(0, e.time), uint8(e.flags)}
}

// Unsettled passes the frames that a predecessor has left for somebody, oldest first.
func (x *Receiver) Unsettled(yield func(Frame) bool) {
	for n := x.unsettled(); n < x.words().framed.Load(); n++ {
		if !yield(x.frame(n)) {
			return
		}
	}
}

// Pending says whether something was received that is not settled, by the history and by each port that is forwarded to. Only
// while no reader runs.
func (r *Ring) Pending() bool {
	x := Receiver{ring: r}
	w := x.words()
	n := w.framed.Load()
	if last, ok := x.Last(); w.head.Load() > last.Offset+uint64(len(last.Wire)) || ok && w.stored.Load() < n || w.intent.Load() != 0 {
		return true
	}
	for i := range w.forwarded {
		if r.h.targets.names[i].Load() != 0 && w.forwarded[i].Load() < n {
			return true
		}
	}
	return false
}

// Last is the last frame of the session, if there is one.
func (x *Receiver) Last() (Frame, bool) {
	n := x.words().framed.Load()
	if n == 0 {
		return Frame{}, false
	}
	return x.frame(n - 1), true
}

// StoredThrough notes that the history has the frame that begins at an offset, and all before it.
func (x *Receiver) StoredThrough(offset uint64) {
	frames := slices.Collect(x.Unsettled)
	if i, ok := slices.BinarySearchFunc(frames, offset, func(f Frame, o uint64) int { return cmp.Compare(f.Offset, o) }); ok {
		x.Stored(frames[i].Number + 1)
	}
}

// GiveUp counts the frames of a session that are not safe with the history as lost to it. Only while no reader runs, and
// when none goes on with the session.
func (r *Ring) GiveUp() int {
	w := &r.h.reader
	framed := w.framed.Load()
	lost := framed - w.stored.Load()
	r.CountLostHistory(int(lost))
	w.stored.Store(framed)
	return int(lost)
}

// Late is who has not settled the oldest frame whose room is in use: the history, or a target by its place.
func (x *Receiver) Late() (target int, history bool) {
	oldest := x.unsettled()
	for i, m := range x.marks {
		if m.Load() == oldest {
			return i - 1, i == 0
		}
	}
	return 0, true // unsettled is the least of the marks, which only grow
}

// Stored notes that the history has all frames before number n, or never will.
func (x *Receiver) Stored(n uint64) { raise(x.marks[0], n) }

// IsStored says whether that was noted for a frame.
func (x *Receiver) IsStored(n uint64) bool { return n < x.marks[0].Load() }

// Forwarded notes the same for a target, by its place.
func (x *Receiver) Forwarded(target int, n uint64) { raise(x.marks[1+target], n) }

// IsForwarded says whether that was noted for a frame.
func (x *Receiver) IsForwarded(target int, n uint64) bool { return n < x.marks[1+target].Load() }

func raise(mark *atomic.Uint64, n uint64) {
	for old := mark.Load(); old < n && !mark.CompareAndSwap(old, n); old = mark.Load() {
	}
}
