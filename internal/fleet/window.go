package fleet

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Limits of what may be under way to the hub. One message always may.
const (
	windowMessages = 256
	windowBytes    = 1 << 20
)

const (
	// prompt is how long the oldest message may be under way for new ones to follow. A hub that elects another leader takes
	// longer, so that nothing is stored behind what it has lost; and on a slow link no more waits than it carries meanwhile.
	prompt = time.Second
	// surely is how long after its last sending a message can be repeated without being stored twice: half of the two minutes
	// for which a stream remembers ids unless it is told otherwise.
	surely = time.Minute
)

// flight is a message on its way to the hub.
type flight struct {
	seq     uint64 // in the history
	subject string
	header  nats.Header
	data    []byte
	sent    time.Time // when last
	done    time.Time // when the hub had it; zero: it has not
	refused bool      // when it was sent last
}

func (f *flight) size() int { return len(f.data) + 256 }

// window are the messages under way, in order. The first is never done.
type window struct {
	flights []*flight
	bytes   int
}

// open says whether another may follow.
func (w *window) open(now time.Time) bool {
	return len(w.flights) == 0 || len(w.flights) < windowMessages && w.bytes < windowBytes && now.Sub(w.flights[0].sent) < prompt
}

func (w *window) push(f *flight) {
	w.flights = append(w.flights, f)
	w.bytes += f.size()
}

// find is the message with a sequence, or nil.
func (w *window) find(seq uint64) *flight {
	i, found := slices.BinarySearchFunc(w.flights, seq, func(f *flight, seq uint64) int {
		switch {
		case f.seq < seq:
			return -1
		case f.seq > seq:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return w.flights[i]
}

// settle notes that the hub has a message, and returns the last up to which it has all, if that has moved.
func (w *window) settle(f *flight, now time.Time) (last *flight) {
	f.done = now
	for len(w.flights) > 0 && !w.flights[0].done.IsZero() {
		last = w.flights[0]
		w.bytes -= last.size()
		w.flights[0] = nil
		w.flights = w.flights[1:]
	}
	return last
}

// waiting are those that the hub does not have, in order.
func (w *window) waiting() (list []*flight) {
	for _, f := range w.flights {
		if f.done.IsZero() {
			list = append(list, f)
		}
	}
	return list
}

// passed says whether the hub has had a later message than the first for so long that the first is lost.
func (w *window) passed(now time.Time) bool {
	return slices.ContainsFunc(w.flights, func(f *flight) bool { return !f.done.IsZero() && now.Sub(f.done) > prompt })
}

// upTo is the sequence up to which the hub has all when it gets a message that it has not, and all before that.
func (w *window) upTo(f *flight) uint64 {
	last := f.seq
	for _, other := range w.flights {
		switch {
		case other.seq <= f.seq:
		case other.done.IsZero():
			return last
		default:
			last = other.seq
		}
	}
	return last
}

// keep leaves those that the hub has lost, or has stored without saying so, and that can be repeated without harm.
func (w *window) keep(upTo uint64, now time.Time) {
	left := w.waiting()
	*w = window{}
	for _, f := range left {
		if f.seq <= upTo && (f.refused || now.Sub(f.sent) < surely) {
			w.push(f)
		}
	}
}
