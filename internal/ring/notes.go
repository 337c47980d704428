package ring

import (
	"slices"
	"sync"
	"sync/atomic"
)

// noteWord holds the sequence of a queued frame that was written; 0: none.
type noteWord = atomic.Uint64

// notes say which frames of the queue were written, for a successor: to it the queue hands those out again that were not
// acknowledged. A note stays, acknowledged or not, until its place is needed.
//
// Frames are not always written in the order of their sequences, as those of a lease's holder pass others. So a note that a
// predecessor has left may be of a frame that the queue will hand out again however many others come before it.
type notes struct {
	table *[notesLen]noteWord

	mu     sync.Mutex     // guards all below
	places map[uint64]int // of notes whose frame is not acknowledged, as far as is known
	free   []int          // places that may be used, in this order
	doubt  []uint64       // a predecessor's, and not handed out yet, in order: who knows whether they will be
}

// underWay is how many frames may be written and not acknowledged. Of a full table that a predecessor has left no more than
// so many can be handed out again, and not those with the lowest sequences.
const underWay = 1024

// load reads what a predecessor has left. The frame that it had in hand, if seq is not 0, counts as written.
func (n *notes) load(place int, seq uint64) {
	n.places = make(map[uint64]int, underWay)
	for i := range n.table {
		noted := n.table[i].Load()
		if seq != 0 && i == place {
			noted = seq
		}
		if noted == 0 {
			n.free = append(n.free, i)
			continue
		}
		n.places[noted] = i
		n.doubt = append(n.doubt, noted)
	}
	slices.Sort(n.doubt)
}

// has says whether a frame that the queue has handed out was written.
func (n *notes) has(seq uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.places[seq]
	return ok
}

// handedOut notes that the queue has handed out a frame, which it does in order.
func (n *notes) handedOut(seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.doubt) > 0 && n.doubt[0] <= seq {
		if n.doubt[0] < seq { // it is in the queue no more
			n.release(n.doubt[0])
		}
		n.doubt = n.doubt[1:]
	}
}

// settled notes that a frame was acknowledged.
func (n *notes) settled(seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.release(seq)
}

// release must be called with mu held.
func (n *notes) release(seq uint64) {
	if place, ok := n.places[seq]; ok {
		delete(n.places, seq)
		n.free = append(n.free, place)
	}
}

// take finds a place for a note. If there is none, one comes when a frame is acknowledged.
func (n *notes) take() (place int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.places)-len(n.doubt) >= underWay {
		return 0, false
	}
	if len(n.free) == 0 { // so most notes are in doubt
		n.release(n.doubt[0])
		n.doubt = n.doubt[1:]
	}
	place = n.free[0]
	n.free = n.free[1:]
	return place, true
}

// put notes that a frame was written.
func (n *notes) put(place int, seq uint64) {
	n.table[place].Store(seq)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.places[seq] = place
}
