// Package publish sends messages to a stream and knows of each whether it was stored: many at a time are under way,
// those that were lost are sent again, and when the stream does not keep up the caller waits. So a flood is slowed down
// at its source, in the kernel's buffer of the device, and not lost. A caller whose messages are of use to others at
// once, stored or not, waits only so long: then the oldest are given up and counted.
package publish

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Limits of what may be under way. One frame always may, however long.
const (
	windowMessages = 1024
	windowBytes    = 8 << 20
	// firstSlots is how many there is room for at first: most ports never need more, and there are many publishers. There is
	// twice as much each time that it does not do, up to windowMessages.
	firstSlots = 64
)

// slot is one message under way.
type slot struct {
	kept
	mark uint64
	size int
	done bool

	// A message is sent again, so its first and last sending are kept: when, and which one it was of all sendings.
	came, sent  time.Time
	first, last uint64
}

// kept is what a message is made of again. A stream that is behind has thousands of them wait in each worker, and a nats.Msg takes
// four times as much as what is in it.
type kept struct {
	subject string
	header  string // its lines, as in the protocol
	data    []byte
}

func keep(m *nats.Msg) kept {
	var b strings.Builder
	size := 0
	for key, values := range m.Header {
		for _, v := range values {
			size += len(key) + len(": ") + len(v) + len("\r\n")
		}
	}
	b.Grow(size) // no more, as thousands of them may wait
	for key, values := range m.Header {
		for _, v := range values {
			for _, part := range [...]string{key, ": ", flat.Replace(v), "\r\n"} {
				b.WriteString(part)
			}
		}
	}
	return kept{m.Subject, b.String(), m.Data}
}

// flat has a value fit in a line, in the way in which nats.go does it.
var flat = strings.NewReplacer("\r", " ", "\n", " ")

func (k kept) message() *nats.Msg {
	m := &nats.Msg{Subject: k.subject, Data: k.data}
	for line := range strings.SplitSeq(k.header, "\r\n") {
		if key, value, ok := strings.Cut(line, ": "); ok {
			if m.Header == nil {
				m.Header = nats.Header{}
			}
			m.Header[key] = append(m.Header[key], value)
		}
	}
	return m
}

// window is a ring of the messages under way, oldest first:
//
//	… head ────────── tail …
//	   │ done, not, done │ free
//
// Message n is in slots[n % len]; head and tail count messages and never go back. The oldest is never done, as head
// moves over those that are.
type window struct {
	slots      []slot // their number is a power of two
	limit      uint64 // of messages
	head, tail uint64
	bytes      int
}

func (w *window) empty() bool { return w.head == w.tail }

func (w *window) full(size int) bool {
	return w.tail-w.head >= w.limit || !w.empty() && w.bytes+size > windowBytes
}

// has says whether message n is under way.
func (w *window) has(n uint64) bool { return n >= w.head && n < w.tail && !w.at(n).done }

func (w *window) at(n uint64) *slot { return &w.slots[n%uint64(len(w.slots))] }

// push adds a message and returns its number.
func (w *window) push(s slot) uint64 {
	if w.tail-w.head == uint64(len(w.slots)) {
		w.grow()
	}
	n := w.tail
	*w.at(n) = s
	w.tail++
	w.bytes += s.size
	return n
}

func (w *window) grow() {
	old := *w
	w.slots = make([]slot, max(firstSlots, 2*len(old.slots)))
	for n := w.head; n < w.tail; n++ {
		*w.at(n) = *old.at(n)
	}
}

// settle notes that message n is not waited for any more, and returns the mark up to which none is, if that has moved.
func (w *window) settle(n uint64) (mark uint64, moved bool) {
	if !w.has(n) {
		return 0, false // acknowledged twice: it had been sent again
	}
	w.at(n).done = true
	for !w.empty() && w.at(w.head).done {
		s := w.at(w.head)
		mark, moved = s.mark, true
		w.bytes -= s.size
		*s = slot{}
		w.head++
	}
	return mark, moved
}
