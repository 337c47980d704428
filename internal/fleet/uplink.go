// Package fleet brings what a gateway's history holds to a hub, where many gateways come together, and nothing twice: the hub is
// asked how far it has got, at the start and after each loss of the link, and told what comes behind that.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

const (
	// look is how often it is looked whether the link is there, and whether anything has to be repeated.
	look = 250 * time.Millisecond
	// firstRetry and lastRetry are how long a hub is left alone that is there, and does not take what it is told.
	firstRetry, lastRetry = time.Second, 30 * time.Second
)

// Options say what goes where.
type Options struct {
	Broker *broker.Broker
	Local  ipc.Subjects
	Hub    ipc.FleetSubjects
	Stream string // of the hub
	Domain string // of the hub's JetStream
	Log    *slog.Logger

	// What the hub's stream has refused out of the middle outlasts the uplink: Keep keeps a text for the next one, whose Left it is. An
	// empty one says that there is nothing.
	Left string
	Keep func(text string) error
}

// Uplink tells the hub.
type Uplink struct {
	Options
	nc      *nats.Conn // to the account that is connected with the hub
	answers chan *nats.Msg
	pulse   pulse
	window  window
	recent  flight // the last that the hub has for certain, as was known to this uplink; none: its seq is 0
	of      string // the history's incarnation that recent and window are of
	left    *gap   // what an uplink before has left, as far as the hub does not have it now
	kept    string // what is kept
	renew   atomic.Bool
	warned  string // what was said last of what goes wrong

	mu     sync.Mutex // guards all below
	status ipc.LeafStatus
	stored uint64 // sequence up to which the hub has all; valid if known
	known  bool
}

// New makes an uplink for a broker that has a hub.
func New(o Options) *Uplink {
	u := &Uplink{Options: o, nc: o.Broker.Fleet(), answers: make(chan *nats.Msg, 4*windowMessages)}
	u.loadGap()
	return u
}

// Status says how things stand. The history's newest message, and how many it has, are the caller's to know.
func (u *Uplink) Status(newest, held uint64) ipc.LeafStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.status
	if !s.Connected {
		s.Error = u.Broker.LinkProblem()
	}
	switch {
	case !u.known:
		s.Behind = max(held, 1) // as much as the hub can lack
	case newest > u.stored:
		s.Behind = newest - u.stored
	}
	return s
}

// Renew has the uplink look at the history anew, which may be another one: its files were deleted, or its store started again.
func (u *Uplink) Renew() { u.renew.Store(true) }

// errLost ends a session whose link is gone, errSilent one whose hub does not answer any more, and errRenew one by Renew.
var (
	errLost   = errors.New("the link is lost")
	errSilent = errors.New("the hub does not answer")
	errRenew  = errors.New("the history may be another one")
)

// Run tells the hub until ctx ends, and for a moment longer if there is a last word.
func (u *Uplink) Run(ctx context.Context) error {
	sub, err := u.nc.Subscribe(u.Hub.Inbox()+".told.*", u.take)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		return fmt.Errorf("subscribe to the hub's answers: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails if the connection is closed
	retry := firstRetry
	for {
		link, ok := u.awaitLink(ctx)
		if !ok {
			return nil
		}
		begun := time.Now()
		err := u.follow(ctx, link)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errSilent) {
			u.Log.Warn("the hub does not answer; the link is cut, and another is tried", "hub", link.URL, "silent_for", u.pulse.silence(time.Now()).Round(time.Millisecond))
			u.Broker.CutLink(link)
		}
		if !u.Broker.LinkUp(link) {
			u.disconnected(link)
			retry = firstRetry
			continue
		}
		if errors.Is(err, errRenew) {
			continue
		}
		u.complain(err)
		if time.Since(begun) > lastRetry {
			retry = firstRetry
		}
		if !u.wait(ctx, link, retry) {
			return nil
		}
		retry = min(2*retry, lastRetry)
	}
}

// take gets an answer of the hub. It never waits: whatever is beyond what can be under way comes too late to be of use.
func (u *Uplink) take(m *nats.Msg) {
	select {
	case u.answers <- m:
	default:
	}
}

// awaitLink waits for a link; it returns false when ctx ends.
func (u *Uplink) awaitLink(ctx context.Context) (broker.Link, bool) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if link, up := u.Broker.Link(); up && ctx.Err() == nil {
			u.connected(link)
			return link, true
		}
		select {
		case <-ctx.Done():
			return broker.Link{}, false
		case <-tick.C:
		}
	}
}

// wait lets time pass while the link is up; it returns false when ctx ends.
func (u *Uplink) wait(ctx context.Context, link broker.Link, length time.Duration) bool {
	late := time.After(length)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for u.Broker.LinkUp(link) {
		select {
		case <-ctx.Done():
			return false
		case <-late:
			return true
		case <-tick.C:
		}
	}
	return true
}

func (u *Uplink) connected(link broker.Link) {
	if u.pulse.link == link {
		return
	}
	u.pulse = u.pulse.next(link, time.Now())
	u.warned = ""
	u.Log.Info("the link to the hub is up", "hub", link.URL)
	u.change(func(s *ipc.LeafStatus) { s.Connected, s.URL, s.Error = true, link.URL, "" })
}

func (u *Uplink) disconnected(link broker.Link) {
	u.pulse.link = broker.Link{}
	u.Log.Warn("the link to the hub is down; what happens meanwhile is kept in the history", "hub", link.URL)
	u.change(func(s *ipc.LeafStatus) { s.Connected, s.URL, s.Error = false, "", "" })
}

func (u *Uplink) change(do func(*ipc.LeafStatus)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	do(&u.status)
}

// complain says once for each link what goes wrong.
func (u *Uplink) complain(err error) {
	if err == nil || err.Error() == u.warned {
		return
	}
	u.warned = err.Error()
	u.Log.Warn("the hub does not get what happens; it is kept in the history, and tried again", "error", err)
	u.change(func(s *ipc.LeafStatus) { s.Error = u.warned })
}

// well ends a complaint.
func (u *Uplink) well() {
	if u.warned == "" {
		return
	}
	u.warned = ""
	u.Log.Info("the hub stores what happens")
	u.change(func(s *ipc.LeafStatus) { s.Error = "" })
}

// note has Status know up to where the hub has all.
func (u *Uplink) note(stored uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stored, u.known = stored, true
}

// giveUp counts messages that the hub will never have.
func (u *Uplink) giveUp(n uint64) {
	u.change(func(s *ipc.LeafStatus) { s.Lost += n })
}
