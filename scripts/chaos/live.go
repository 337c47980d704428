package main

import (
	"slices"
)

// live compares what a tap has seen of a port live with the history: between the first and the last message of a turn it has
// seen all.
type live struct {
	terms
	counts liveCounts
}

type liveCounts struct {
	turns, seen, repeats int
	missed               int
	unstored             int // seen, and lost with the supervisor before they were stored
}

// compare compares turns with the history, where index tells the place of each message in the history, if it has it. back
// words the message at a place, and when it was.
func (l *live) compare(s *sight, index func(place) (int, bool), back func(int) (string, int64), now int64) {
	if s == nil {
		l.problem(now, "nothing was seen")
		return
	}
	l.counts.repeats += s.repeats
	for _, turn := range s.turns {
		var at []int
		for _, p := range turn {
			if i, ok := index(p); ok {
				at = append(at, i)
			} else if l.counts.unstored++; l.keeps {
				l.problem(now, "a message was seen and is not in the history: session %d, %d", p.session, p.number)
			}
		}
		if len(at) == 0 {
			continue
		}
		slices.Sort(at)
		at = slices.Compact(at)
		l.counts.turns++
		l.counts.seen += len(at)
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1] - 1; gap > 0 {
				l.counts.missed += gap
				what, when := back(at[i-1] + 1)
				l.problem(when, "%d messages were not seen live from %s on", gap, what)
			}
		}
	}
	if l.counts.seen == 0 {
		l.problem(now, "nothing was seen")
	}
}
