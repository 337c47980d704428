package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

const (
	// askLimit is how long the hub may take to say where it stands.
	askLimit = 5 * time.Second
	// askTogether is how many subjects it is asked for at a time.
	askTogether = 64
	// askTwice is how often it is asked when nothing is known that its answer could be compared with. Any server that has the
	// stream answers, even one that has not caught up with the others.
	askTwice = 2
	// askAgain is how often it is asked whether it really has not what it had.
	askAgain = 4
)

// ask finds out what the hub has of a history: all up to a sequence, or nothing that is known.
func (u *Uplink) ask(ctx context.Context, place broker.HistoryPlace) (seq uint64, known bool, err error) {
	if u.of != place.Incarnation {
		u.of, u.window, u.recent = place.Incarnation, window{}, flight{}
	}
	if u.recent.seq > 0 {
		seq, err := u.askAboutRecent(ctx)
		if err != nil || seq > 0 {
			return seq, true, err
		}
		u.Log.Warn("the hub has lost what it had stored; what it lacks is sent again, as far as the history has it", "stream", u.Stream)
		u.window, u.recent = window{}, flight{}
	}
	subjects := []string{u.nothing()}
	for _, local := range place.Subjects {
		if subject, ok := u.onHub(local); ok {
			subjects = append(subjects, subject)
		}
	}
	for range askTwice {
		newest, err := u.newest(ctx, subjects)
		if err != nil {
			return 0, false, err
		}
		seq = max(seq, newest)
	}
	return seq, seq > 0, nil
}

// askAboutRecent asks about what is under way alone, and about the last message that the hub had stored; 0: it has that no more.
func (u *Uplink) askAboutRecent(ctx context.Context) (seq uint64, err error) {
	subjects := []string{u.recent.subject}
	for _, f := range u.window.flights {
		if !slices.Contains(subjects, f.subject) {
			subjects = append(subjects, f.subject)
		}
	}
	for range askAgain {
		if seq, err = u.newest(ctx, subjects); err != nil || seq >= u.recent.seq {
			return seq, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(2 * look): // another server may answer, or this one know more
		}
	}
	return 0, nil
}

// newest is up to where the last messages on some subjects say that the hub has all; 0: they say nothing.
func (u *Uplink) newest(ctx context.Context, subjects []string) (newest uint64, err error) {
	u.pulse.ask(time.Now())
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var mu sync.Mutex // guards newest and the pulse
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askTogether)
	for _, subject := range subjects {
		group.Go(func() error {
			incarnation, seq, err := u.last(ctx, subject)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				return err
			}
			u.pulse.beat(time.Now())
			if incarnation == u.of {
				newest = max(newest, seq)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return newest, nil
}

// directGet is the request for the last message on a subject of the hub.
func (u *Uplink) directGet(subject string) string {
	return "$JS." + u.Domain + ".API.DIRECT.GET." + u.Stream + "." + subject
}

// nothing is a subject on which there never is anything: what is asked about it shows whether the stream answers.
func (u *Uplink) nothing() string { return u.Hub.State(ipc.Supervisor) }

// last asks for the last message on a subject.
func (u *Uplink) last(ctx context.Context, subject string) (incarnation string, seq uint64, err error) {
	m, err := u.nc.RequestWithContext(ctx, u.directGet(subject), nil)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return "", 0, fmt.Errorf("nobody on the hub answers %s: have the hub's user of this gateway publish there, and set jetstream {domain: %s} on the hub, or broker.leaf.domain here",
			u.directGet(u.Hub.Root+".>"), u.Domain)
	case errors.Is(err, context.DeadlineExceeded):
		return "", 0, fmt.Errorf("the hub's stream %s does not answer: wait while its servers start, or see to it that there is one with allow_direct, as docs/fleet.md says, and that its servers run", u.Stream)
	case err != nil:
		return "", 0, fmt.Errorf("ask the hub's stream %s: %w", u.Stream, err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		incarnation, seq = placeOf(m.Header)
		return incarnation, seq, nil
	case "404":
		return "", 0, nil
	default:
		return "", 0, fmt.Errorf("the hub's stream %s answers %s %s", u.Stream, status, m.Header.Get("Description"))
	}
}
