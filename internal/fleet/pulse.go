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
	// dead is how long a hub must have been silent for its link to be cut.
	dead = 12500 * time.Millisecond
)

// pulse is when a hub last gave a sign of life.
type pulse struct {
	link  broker.Link
	lives bool          // the hub has answered over this link
	limit time.Duration // how long it may be silent
	heard time.Time     // zero: no hub has ever answered, and then nothing follows from silence
	asked time.Time     // after heard, or of no interest
}

// longest is the longest that a hub may be silent. It may be alive, and its stream not: then each link that is cut is one for
// nothing.
const longest = 10 * time.Minute

// next is for another link, over which the hub has as long as before if it has answered over this one, else four times as long.
func (p *pulse) next(link broker.Link, now time.Time) pulse {
	n := pulse{link: link, limit: dead}
	if !p.heard.IsZero() {
		n.heard = now
		if !p.lives {
			n.limit = min(4*p.limit, longest)
		}
	}
	return n
}

// beat notes a sign of life.
func (p *pulse) beat(now time.Time) { p.lives, p.limit, p.heard = true, dead, now }

// due says whether the hub is to be asked.
func (p *pulse) due(now time.Time) bool {
	if p.heard.IsZero() || now.Sub(p.heard) < quiet || p.asked.After(p.heard) && now.Sub(p.asked) < quiet {
		return false
	}
	p.ask(now)
	return true
}

// ask notes that the hub is asked something.
func (p *pulse) ask(now time.Time) {
	if !p.asked.After(p.heard) {
		p.asked = now
	}
}

// over says whether the link is dead. A gateway that was stopped itself for a while asks first.
func (p *pulse) over(now time.Time) bool {
	return !p.heard.IsZero() && now.Sub(p.heard) >= p.limit && p.asked.After(p.heard) && now.Sub(p.asked) >= quiet
}

// keepUp sees to it that the hub is asked for a sign of life, and says so when the link is gone, or dead.
func (u *Uplink) keepUp(link broker.Link, now time.Time) error {
	switch {
	case !u.Broker.LinkUp(link):
		return errLost
	case u.pulse.over(now):
		return errSilent
	case u.pulse.due(now):
		u.probe()
	}
	return nil
}

// silence is how long the hub has been silent.
func (p *pulse) silence(now time.Time) time.Duration { return now.Sub(p.heard) }
