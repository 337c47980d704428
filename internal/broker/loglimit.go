package broker

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A client that does what it may not, over and over, has the server say so each time. What is logged of that is bounded, as the
// log is on somebody's disk.
const (
	logBurst = 100 // lines at a time
	logRate  = 5   // lines a second after that
)

// limit lets so many lines through, and counts the others.
type limit struct {
	lines *rate.Limiter

	mu      sync.Mutex // guards leftOut
	leftOut int
}

func newLimit() *limit { return &limit{lines: rate.NewLimiter(logRate, logBurst)} }

// pass says whether a line may be logged now, and how many were left out before it.
func (l *limit) pass(now time.Time) (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lines.AllowN(now, 1) {
		l.leftOut++
		return 0, false
	}
	leftOut, l.leftOut = l.leftOut, 0
	return leftOut, true
}
