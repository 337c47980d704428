package publish

import (
	"slices"
	"sort"
)

// missing are the numbers of messages that were given up, as ranges in ascending order. A stream that hangs for a while
// can still acknowledge what it was sent before, however long ago, and does so in order, so that there are few ranges.
type missing []span

// span are the numbers from … end-1.
type span struct{ from, end uint64 }

// missingSpans is how many ranges are kept; the oldest is forgotten first.
const missingSpans = 1024

// add notes a number greater than all before.
func (m *missing) add(n uint64) {
	if last := len(*m) - 1; last >= 0 && (*m)[last].end == n {
		(*m)[last].end++
		return
	}
	*m = append(*m, span{n, n + 1})
	m.forget()
}

func (m *missing) forget() {
	if excess := len(*m) - missingSpans; excess > 0 {
		*m = slices.Delete(*m, 0, excess)
	}
}

// take removes a number, and says whether it was there.
func (m *missing) take(n uint64) bool {
	i := sort.Search(len(*m), func(i int) bool { return (*m)[i].end > n })
	if i == len(*m) || (*m)[i].from > n {
		return false
	}
	switch s := (*m)[i]; {
	case s.end-s.from == 1:
		*m = slices.Delete(*m, i, i+1)
	case s.from == n:
		(*m)[i].from++
	case s.end == n+1:
		(*m)[i].end--
	default:
		*m = slices.Insert(*m, i, span{s.from, n})
		(*m)[i+1].from = n + 1
		m.forget()
	}
	return true
}
