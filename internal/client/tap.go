package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// backlog is how many messages may wait for a tap's output before some are dropped, which the connection's error
// handler is told.
const backlog = 1 << 16

// TapOptions say what to watch.
type TapOptions struct {
	Ports []string      // none: all
	Since time.Duration // > 0: begin so long ago, from the history
	Wire  bool          // say what received frames were on the line
	// Listening, if set, is called with the ports that are watched when nothing will be missed any more.
	Listening func(ports []string)
	// Denied, if set, is called with the user and the ports that are left out as it may not watch them, if it named none.
	Denied func(who string, ports []string)
	// Missed, if set, is called when received bytes of a port are found missing, at most once a second and at the end.
	Missed func(port string, bytes uint64)
}

// Tap passes the traffic to see, in order, until ctx ends or see returns an error, which Tap returns. A frame that a
// reader has published again after a crash is passed once.
func (c *Client) Tap(ctx context.Context, o TapOptions, see func(capture.Record) error) error {
	_, status, err := c.StatusJSON(ctx)
	if err != nil {
		return err
	}
	if err := checkPorts(o.Ports, status); err != nil {
		return err
	}
	join, err := newJoiner(status, o)
	if err != nil {
		return err
	}
	defer join.tell()
	may, not, err := c.mayTap(o.Ports, status)
	switch {
	case err != nil:
		return err
	case len(not) > 0 && (len(o.Ports) > 0 || len(may) == 0):
		return c.deniedFor("tap port "+strings.Join(not, ", "), "the port")
	case len(not) > 0 && o.Denied != nil:
		o.Denied(c.who(), not)
	}
	o.Ports = may
	subjects := c.watched(o.Ports)
	if len(o.Ports) == 0 {
		o.Ports = PortNames(status)
	}
	once := &repeats{}
	pass := func(subject string, h nats.Header, payload []byte) error {
		r, ok := recordOf(c.Subjects, subject, h, payload)
		if !ok || once.seen(r) {
			return nil
		}
		join.take(&r)
		return see(r)
	}
	if o.Since > 0 {
		return c.tapHistory(ctx, o, subjects, pass)
	}
	return c.tapLive(ctx, o, subjects, join, pass)
}

// watched lists the subjects of some ports, or of all.
func (c *Client) watched(ports []string) []string {
	if len(ports) == 0 {
		return c.Subjects.Watched()
	}
	var list []string
	for _, port := range ports {
		for _, s := range c.Subjects.Watched() {
			list = append(list, strings.Replace(s, "*", port, 1))
		}
	}
	return list
}

// tapLive uses one channel for all subjects, which keeps the order in which the broker sent.
func (c *Client) tapLive(ctx context.Context, o TapOptions, subjects []string, join *joiner, pass func(string, nats.Header, []byte) error) error {
	// What a user may watch can change, and then the connection is made anew.
	allowed, stop := c.watchDenied(ctx, func(subject string) bool { return slices.Contains(subjects, subject) })
	defer stop()
	messages := make(chan *nats.Msg, backlog)
	for _, s := range subjects {
		if _, err := c.nc.ChanSubscribe(s, messages); err != nil {
			return fmt.Errorf("watch %s: %w", s, err)
		}
	}
	if err := c.nc.FlushTimeout(answerLimit); err != nil {
		return fmt.Errorf("watch the traffic: %w", err)
	}
	if o.Listening != nil {
		o.Listening(o.Ports)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-allowed.Done():
			if errors.Is(context.Cause(allowed), errDenied) {
				return c.deniedFor("tap port "+strings.Join(o.Ports, ", ")+" any more", "the port")
			}
			return nil
		case <-tick.C:
			join.refresh(ctx, c)
			join.tell()
		case m := <-messages:
			join.watch(c, len(messages))
			if err := pass(m.Subject, m.Header, m.Data); err != nil {
				return err
			}
		}
	}
}

// tapHistory reads the stream, which goes on with what is stored from now on: nothing is missing in between.
func (c *Client) tapHistory(ctx context.Context, o TapOptions, subjects []string, pass func(string, nats.Header, []byte) error) error {
	stream, err := c.history(ctx)
	if errors.Is(err, errDenied) {
		return c.deniedFor("read the history", "role "+string(ipc.RoleTap))
	}
	if err != nil {
		return err
	}
	consumer, err := readHistory(ctx, stream, subjects, o.Since, 0)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	if o.Listening != nil {
		o.Listening(o.Ports)
	}
	for {
		m, err := messages.Next()
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read the history: %w", err)
		}
		if err := pass(m.Subject(), m.Headers(), m.Data()); err != nil {
			return err
		}
	}
}

// repeats remembers the ids of the last frames: one that a reader publishes again follows within its window.
type repeats struct {
	ids  [8192]string
	next int
	set  map[string]struct{}
}

// seen says whether r has come before, and remembers it.
func (s *repeats) seen(r capture.Record) bool {
	if r.ID == "" {
		return false
	}
	if s.set == nil {
		s.set = map[string]struct{}{}
	}
	if _, ok := s.set[r.ID]; ok {
		return true
	}
	delete(s.set, s.ids[s.next])
	s.ids[s.next] = r.ID
	s.next = (s.next + 1) % len(s.ids)
	s.set[r.ID] = struct{}{}
	return false
}
