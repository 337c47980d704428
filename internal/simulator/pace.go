package simulator

import (
	"math"
	"time"
)

// pace says when to say what was recorded at some time. The silence between two frames is what counts, so that a clock
// that was set back in between delays nothing.
type pace struct {
	speed float64 // 2: twice as fast; 0: at once
	last  time.Time
	due   time.Time
}

// next is when the frame recorded at a time is due. The first is at once.
func (p *pace) next(at, now time.Time) time.Time {
	silence := at.Sub(p.last)
	switch {
	case p.speed == 0 || p.last.IsZero():
		p.due = now
	case silence > 0:
		p.due = p.due.Add(scaled(silence, p.speed))
	}
	p.last = at
	return p.due
}

// resume goes on after a pause: what was due in it is due now.
func (p *pace) resume(now time.Time) { p.due = now }

func scaled(d time.Duration, speed float64) time.Duration {
	if s := float64(d) / speed; s < math.MaxInt64 {
		return time.Duration(s)
	}
	return math.MaxInt64
}
