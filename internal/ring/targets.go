package ring

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"sync/atomic"
)

// targetWords say whose marks readerWords.forwarded has. They are written by the supervisor, while no reader runs.
//
// A place belongs to a port for as long as it is forwarded to, wherever it stands in the config and whoever comes or goes
// beside it. So nothing is ever moved, and a kill between any two words leaves each mark with its owner or with nobody.
type targetWords struct {
	named atomic.Uint64             // 1: names holds; 0: of a version before, whose marks stand in the config's order
	names [MaxTargets]atomic.Uint64 // nameWord of the port; 0: nobody has the place
}

// settledAll is the mark of one who is to get nothing of a session.
const settledAll = math.MaxUint64

// nameWord stands for a port's name. That two of at most MaxTargets have the same is as good as impossible.
func nameWord(port string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(port)) // cannot fail
	return max(1, h.Sum64())
}

// SetTargets says which ports frames are forwarded to from the next session on. Those that stay get what a predecessor has left
// for them of this one still; new ones get nothing of it. The returned number is of frames that had been left for others: they
// are given up, and counted. same says whether the list is that with which the session began, which the memory does not know
// if a supervisor of an earlier version has made it. Only while no reader runs.
func (r *Ring) SetTargets(ports []string, same bool) (dropped uint64, err error) {
	if len(ports) > MaxTargets {
		return 0, fmt.Errorf("shared memory: %d ports to forward to, and there is room for %d", len(ports), MaxTargets)
	}
	t, w := &r.h.targets, &r.h.reader
	if t.named.Load() == 0 {
		for i, port := range ports {
			if same {
				t.names[i].Store(nameWord(port))
			}
		}
		t.named.Store(1)
	}
	words := make([]uint64, len(ports))
	for i, port := range ports {
		words[i] = nameWord(port)
	}
	for i := range t.names {
		if name := t.names[i].Load(); name != 0 && !slices.Contains(words, name) {
			if framed, mark := w.framed.Load(), w.forwarded[i].Load(); mark < framed {
				dropped += framed - mark
			}
			t.names[i].Store(0)
		}
	}
	w.lostForward.Add(dropped)
	for _, word := range words {
		if t.find(word) < 0 {
			place := t.find(0)
			w.forwarded[place].Store(settledAll) // first, so that nobody has the place with another's mark
			t.names[place].Store(word)
		}
	}
	return dropped, nil
}

// find is the place of a nameWord, or one that nobody has for 0; -1: there is none.
func (t *targetWords) find(word uint64) int {
	for i := range t.names {
		if t.names[i].Load() == word {
			return i
		}
	}
	return -1
}

// mark is that of a port which SetTargets has named.
func (r *Ring) mark(port string) (*atomic.Uint64, error) {
	place := r.h.targets.find(nameWord(port))
	if place < 0 {
		return nil, fmt.Errorf("shared memory: it has no place for frames to port %s: supervisor and worker are of different versions", port)
	}
	return &r.h.reader.forwarded[place], nil
}
