package broker

import (
	"sync"
	"time"
)

// A client that does what it may not, over and over, has the server say so each time. What is logged of that is bounded, as the
// log is on somebody's disk.
const (
	logBurst = 100 // lines at a time
	logRate  = 5   // lines a second after that
)

// limit lets so many lines through. The zero value lets logBurst through at first.
type limit struct {
	mu      sync.Mutex // guards all below
	room    float64
	looked  time.Time
	leftOut int
}

// pass says whether a line may be logged now, and how many were left out before it.
func (l *limit) pass(now time.Time) (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.looked.IsZero() {
		l.room = logBurst
	} else {
		l.room = min(logBurst, l.room+now.Sub(l.looked).Seconds()*logRate)
	}
	l.looked = now
	if l.room < 1 {
		l.leftOut++
		return 0, false
	}
	l.room--
	leftOut, l.leftOut = l.leftOut, 0
	return leftOut, true
}
