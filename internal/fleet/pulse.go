package fleet

import (
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
)

// A link on which packets vanish is not noticed by the server for minutes: it asks its leaf connections as seldom as clients, and TCP
// gives up only when it has tried for a quarter of an hour. So a hub that is silent is asked something that any server of it with
// the stream answers, at once and in its turn behind whatever is on its way, and when it stays silent the link is cut.
const (
	// quiet is how long a hub may be silent until it is asked, and for how long the answer is waited for.
	quiet = 6 * time.Second
	// dead is how long a hub must have been silent.
	dead = 12500 * time.Millisecond
)

// pulse is when a hub last gave a sign of life.
type pulse struct {
	link  broker.Link
	heard time.Time // zero: never, and then nothing follows from silence
	asked time.Time // after heard, or of no interest
}

// beat notes a sign of life.
func (p *pulse) beat(now time.Time) { p.heard = now }

// due says whether the hub is to be asked.
func (p *pulse) due(now time.Time) bool {
	if p.heard.IsZero() || now.Sub(p.heard) < quiet || p.asked.After(p.heard) && now.Sub(p.asked) < quiet {
		return false
	}
	if !p.asked.After(p.heard) {
		p.asked = now
	}
	return true
}

// over says whether the link is dead. A gateway that was stopped itself for a while asks first.
func (p *pulse) over(now time.Time) bool {
	return !p.heard.IsZero() && now.Sub(p.heard) >= dead && p.asked.After(p.heard) && now.Sub(p.asked) >= quiet
}

// silence is how long the hub has been silent.
func (p *pulse) silence(now time.Time) time.Duration { return now.Sub(p.heard) }
