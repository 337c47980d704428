package ring

import (
	"errors"
	"sync/atomic"
)

// Wanted is what a listener waits for.
type Wanted uint64

// What there is to wait for.
const (
	WantNothing Wanted = iota
	WantFrames
	WantBytes // and frames
)

// Listener follows what is received from a moment on, beside the reader and without taking anything away. The writer has
// one while it waits for the answer to a request. One goroutine uses it.
//
//	… frames before │ from: frames ───── cut ── data ── head ── pipe ── device
type Listener struct {
	ring *Ring
	from uint64 // offset of the first byte that counts
	next uint64 // number of the next frame
	wire []byte // reused

	fence atomic.Uint64
}

// Mark is a moment in what is received, in this session.
type Mark struct {
	offset uint64 // of the first byte behind it
	frame  uint64 // number of the first frame that may have bytes behind it, or of the one before
}

// Mark is that of now: what has come and is still in the pipe, or with the device's driver, is before it too, however late
// the reader is. inPipe and unread count those bytes.
func (r *Ring) Mark(inPipe, unread func() (int, error)) (Mark, error) {
	w := &r.h.reader
	m := Mark{frame: max(w.framed.Load(), 1) - 1}
	for {
		head, intent := w.head.Load(), w.intent.Load()
		piped, err := inPipe()
		if err != nil {
			return m, err
		}
		there, err := unread()
		if err != nil {
			return m, err
		}
		again, err := inPipe()
		if err != nil {
			return m, err
		}
		if again != piped || w.intent.Load() != intent || w.head.Load() != head {
			continue // the reader has moved some meanwhile
		}
		m.offset = received(head, intent, uint64(piped)) + uint64(piped+there)
		return m, nil
	}
}

// Listen begins at a mark.
func (r *Ring) Listen(m Mark) *Listener { return &Listener{ring: r, from: m.offset, next: m.frame} }

// From is the offset at which it has begun.
func (l *Listener) From() uint64 { return l.from }

// Want has the reader say when there is something new; once, so that it must be called before each wait, and before the
// look that precedes it.
func (l *Listener) Want(w Wanted) { l.ring.h.writer.wanted.Store(uint64(w)) }

// Close wants nothing any more.
func (l *Listener) Close() { l.Want(WantNothing) }

// Announce says whether a listener waits for what has just come, WantFrames or WantBytes. The caller must wake it then, as it
// will not be told again.
func (r *Ring) Announce(news Wanted) bool {
	w := &r.h.writer.wanted
	if Wanted(w.Load()) < news {
		return false
	}
	return Wanted(w.Swap(uint64(WantNothing))) != WantNothing
}

// Heard is a frame that was received.
type Heard struct {
	Wire  []byte // what is behind the mark, as it was on the line; valid until the next call
	Flags uint8
	Early bool // it began before the mark
}

// ErrOverrun is returned when what was received is not in the ring any more.
var ErrOverrun = errors.New("the device said more than the port's memory holds before it was looked at")

// Next is the next frame, if there is one. The first may be from before the mark.
func (l *Listener) Next() (f Heard, ok bool, err error) {
	if words := &l.ring.h.reader; l.next < words.framed.Load() {
		e := l.ring.index[l.next%indexLen]
		l.fence.Add(1)
		if words.framed.Load() >= l.next+indexLen {
			return f, false, ErrOverrun // what was read may be of another frame
		}
		l.next++
		early := min(max(l.from, e.start)-e.start, uint64(e.size))
		if err := l.copy(e.start+early, e.start+uint64(e.size)); err != nil {
			return f, false, err
		}
		return Heard{l.wire, uint8(e.flags), early > 0}, true, nil
	}
	return f, false, nil
}

// Rest is what has come behind the last frame, and counts. It must follow a Next that found none; if a frame was made of it
// meanwhile, ok is false.
func (l *Listener) Rest() (rest []byte, ok bool, err error) {
	words := &l.ring.h.reader
	start := l.from
	if l.next > 0 {
		e := l.ring.index[(l.next-1)%indexLen]
		start = max(start, e.start+uint64(e.size))
	}
	err = l.copy(start, max(start, words.head.Load()))
	return l.wire, words.framed.Load() == l.next, err
}

// Head is the offset behind the last byte that was received.
func (l *Listener) Head() uint64 { return l.ring.h.reader.head.Load() }

// copy takes bytes from the ring, and looks afterwards whether the reader has not overwritten them meanwhile.
func (l *Listener) copy(start, end uint64) error {
	size := uint64(len(l.ring.rx) / 2)
	if end-start > size {
		return ErrOverrun
	}
	at := start % size
	l.wire = append(l.wire[:0], l.ring.rx[at:at+end-start]...)
	l.fence.Add(1) // keeps the copy in front of the look, on machines that may turn them round
	// The reader may be writing up to where its intent says that the pipe ends.
	words := &l.ring.h.reader
	if max(words.head.Load()+1, words.intent.Load())-1 > start+size {
		return ErrOverrun
	}
	return nil
}
