package main

import (
	"bytes"
	"cmp"
	"slices"
	"syscall"
	"time"
)

// written compares what a device has got with what was acknowledged to the senders, and with what the history has as sent.
// The order is that of the queue. Of what a device has got
//
//   - a frame can be cut off and come again from its beginning, and a whole one that came last can come again, where the
//     device was unplugged, or where the supervisor ended and nobody kept descriptors: it was in hand;
//   - where such a supervisor was killed, frames before that one can come again too, in order, which the history did not
//     have as sent yet;
//   - as much as a pseudo-terminal holds can be missing where the device was unplugged.
type written struct {
	terms
	order talk
	asked []asking

	told   map[int]bool // by number
	sent   []telling    // in the order of the queue, once all is known
	rank   map[int]int  // place in sent, by number
	used   int          // endings before this one explain what came already
	counts writtenCounts
}

// telling is a frame that the history has as sent.
type telling struct {
	n     int
	queue uint64
	at    int64 // when it was told, ns since 1970
}

type writtenCounts struct {
	queued, unsure    int // acknowledged, and others of which some are in the queue
	told, toldTwice   int // in the history as sent
	untold            int
	written           int // whole
	withDevice        int // lost, and allowed to
	again             int // whole ones that came again, and were allowed to
	lost, doubled     int
	garbled, disorder int
}

func newWritten(t terms, order talk, asked []asking) *written {
	w := &written{terms: t, order: order, asked: asked, told: map[int]bool{}, rank: map[int]int{}}
	for _, a := range asked {
		if a.queue > 0 {
			w.counts.queued++
		} else {
			w.counts.unsure++
		}
	}
	return w
}

// add takes the messages on sent in, in the order of the stream.
func (w *written) add(m stored) {
	n, ok := w.order.number(m.payload)
	if !ok || n >= len(w.asked) || !bytes.Equal(m.payload, w.order.wire(n)) {
		w.counts.garbled++
		w.problem(m.at, "sent has what nobody queued: %.60q", m.payload)
		return
	}
	if w.told[n] {
		w.counts.toldTwice++
		w.problem(m.at, "sent has frame %d twice, again with sequence %d", n, m.queue)
		return
	}
	if k := len(w.sent); k > 0 && m.queue <= w.sent[k-1].queue {
		w.counts.disorder++
		w.problem(m.at, "sent has sequence %d behind %d", m.queue, w.sent[k-1].queue)
	}
	if q := w.asked[n].queue; q != 0 && q != m.queue {
		w.problem(m.at, "sent has sequence %d for frame %d, which was acknowledged with %d", m.queue, n, q)
	}
	w.told[n] = true
	w.sent = append(w.sent, telling{n, m.queue, m.at})
	w.counts.told++
}

// finishSent judges what sent does not have.
func (w *written) finishSent(now int64) {
	for n, a := range w.asked {
		if !w.told[n] && a.queue > 0 {
			w.counts.untold++
			w.problem(a.begun, "sent does not have frame %d, which was acknowledged with sequence %d", n, a.queue)
		}
	}
	if w.counts.queued == 0 {
		w.problem(now, "nothing was queued")
	}
	slices.SortFunc(w.sent, func(a, b telling) int { return cmp.Compare(a.queue, b.queue) })
	for r, t := range w.sent {
		w.rank[t.n] = r
	}
}

// compare goes through what the device has got, after all was added that was sent.
func (w *written) compare(got []token, now int64) writtenCounts {
	last := -1       // rank of what came last
	var before token // and itself
	var end ending   // behind which frames come again
	seen := map[int]bool{}
	for i, t := range got {
		w.identify(&t, last)
		r, told := w.rank[t.n]
		if t.kind == garbled || !told {
			w.counts.garbled++
			w.problem(t.at, "the device has got %d bytes that are no frame that was sent, of frame %d: %.60q", t.bytes, t.n, t.head)
			continue
		}
		moved, ended := i > 0 && t.life != before.life, false
		if i > 0 && !w.keeps && (before.kind == cut || r <= last) {
			if e, ok := w.ended(before, t, r); ok {
				end, ended = e, true
			}
		}
		if before.kind == cut && i > 0 && !moved && !ended {
			w.counts.garbled++
			w.problem(before.at, "frame %d was cut off after %d bytes and frame %d follows", before.n, before.bytes, t.n)
		}
		switch {
		case r > last && !seen[r]:
			w.lose(last+1, r, before, t, moved)
		case r == last && (moved || ended):
			if before.kind == whole {
				w.counts.again++
			}
		case (r == last+1 || ended) && end.signal == syscall.SIGKILL && w.sent[r].at > end.sent:
			w.counts.again++ // it was written, and the history did not know
		case seen[r] && before.n >= 0:
			w.counts.doubled++
			w.problem(t.at, "frame %d (queue %d) comes again behind frame %d (queue %d)", t.n, w.sent[r].queue, before.n, w.sent[last].queue)
		default:
			w.counts.disorder++
			w.problem(t.at, "frame %d (queue %d) comes behind frame %d (queue %d)", t.n, w.sent[r].queue, before.n, w.sent[last].queue)
		}
		if t.kind == whole && !seen[r] {
			seen[r] = true
			w.counts.written++
		}
		last, before = r, t
	}
	if before.kind == cut {
		w.counts.lost++
		w.problem(now, "frame %d was cut off after %d bytes, and nothing follows", before.n, before.bytes)
	}
	for r := last + 1; r < len(w.sent); r++ {
		w.counts.lost++
		w.problem(now, "frame %d (queue %d) was not written in the end", w.sent[r].n, w.sent[r].queue)
	}
	return w.counts
}

// identify finds the number of a frame that was cut off before it: that of the next one, or of the last once more.
func (w *written) identify(t *token, last int) {
	for _, r := range []int{last + 1, last} {
		if t.kind == cut && t.n < 0 && r >= 0 && r < len(w.sent) && bytes.HasPrefix(w.order.wire(w.sent[r].n), t.head) {
			t.n = w.sent[r].n
		}
	}
}

// slack is how much later than a sender its account may be written.
const slack = int64(time.Second)

// ended finds the end of a supervisor behind which a token came that is none new: the last one before it was read, or if
// there was one, a kill before which the history did not know of its frame. Each explains one place at which frames come
// again.
func (w *written) ended(before, t token, r int) (end ending, ok bool) {
	next := w.used
	for i := w.used; i < len(w.endings); i++ {
		e := w.endings[i]
		if e.sent > t.at || e.gone+slack < w.asked[before.n].begun {
			continue
		}
		if unknown := end.signal == syscall.SIGKILL && w.sent[r].at > end.sent; !ok || !unknown {
			end, ok, next = e, true, i+1
		}
	}
	w.used = next
	return end, ok
}

// lose judges frames that did not come between two tokens, by rank, and with them the rest of one that was cut off.
func (w *written) lose(from, to int, before, t token, moved bool) {
	size := 0
	if before.kind == cut {
		size = len(w.order.wire(before.n)) - before.bytes
	}
	for r := from; r < to; r++ {
		size += len(w.order.wire(w.sent[r].n))
	}
	if size == 0 {
		return
	}
	frames := to - from
	if before.kind == cut {
		frames++
	}
	room := 0
	if moved {
		room = (t.life - before.life) * w.room
	}
	if size <= room {
		w.counts.withDevice += frames
		return
	}
	w.counts.lost += frames
	first := w.sent[max(min(from, to-1), 0)]
	w.problem(w.asked[first.n].begun, "%d frames of %d bytes from frame %d (queue %d) on did not come between frame %d and frame %d; %d bytes may have been with the device",
		frames, size, first.n, first.queue, before.n, t.n, room)
}
