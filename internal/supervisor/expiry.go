package supervisor

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// expiry takes frames out of the queues that have waited for longer than they may, and tells of them. A writer does it for
// those that it has in hand; expiry for all that wait, be the device away or just slow.
type expiry struct {
	broker *broker.Broker
	port   func(name string) *port // nil: it is not configured any more
	log    *slog.Logger

	ports   map[string]*port  // as they were when they were looked at last
	seen    map[string]uint64 // by port: the last frame in its queue that was looked at
	waiting []mortal          // in the order in which they expire
}

// mortal is a frame that expires.
type mortal struct {
	port   *port
	frame  broker.QueuedFrame // with a TTL; of others only where it is
	bytes  int
	since  time.Time
	ttl    time.Duration
	expiry time.Time
}

const (
	// expiryLook is how often queues are looked at. A frame's TTL is a second at least.
	expiryLook = 500 * time.Millisecond
	// expiryLimit is how long one look may take.
	expiryLimit = 5 * time.Second
	// expiryKept is how much of the frames with a TTL is kept, for the server drops them by itself. What is beyond can expire
	// without being told of.
	expiryKept = 16 << 20
)

func newExpiry(b *broker.Broker, named func(name string) *port, log *slog.Logger) *expiry {
	return &expiry{broker: b, port: named, log: log, ports: map[string]*port{}, seen: map[string]uint64{}}
}

// Run looks at the queues until ctx ends.
func (e *expiry) Run(ctx context.Context) error {
	tick := time.NewTicker(expiryLook)
	defer tick.Stop()
	next := time.NewTimer(time.Hour)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-next.C:
		}
		limited, cancel := context.WithTimeout(ctx, expiryLimit)
		err := e.look(limited)
		cancel()
		if err != nil {
			e.log.Debug("queues were not looked at for frames that expire", "error", err)
		}
		if len(e.waiting) > 0 {
			next.Reset(max(time.Until(e.waiting[0].expiry), time.Millisecond))
		}
	}
}

// look takes in what is new, and out what is due.
func (e *expiry) look(ctx context.Context) error {
	backlog, err := e.broker.Backlog(ctx)
	if err != nil {
		return err
	}
	for name := range backlog {
		p := e.port(name)
		if p == nil {
			continue // not configured any more: it waits until it is
		}
		if e.ports[name] != p { // its queue may be another, where sequences begin anew
			e.ports[name] = p
			delete(e.seen, name)
			e.waiting = slices.DeleteFunc(e.waiting, func(m mortal) bool { return m.port.config.Name == name })
		}
		if err := e.scan(ctx, p); err != nil {
			return err
		}
	}
	now := time.Now()
	for len(e.waiting) > 0 && !e.waiting[0].expiry.After(now) {
		m := e.waiting[0]
		e.waiting = e.waiting[1:]
		if err := e.expire(ctx, m, now); err != nil {
			return err
		}
	}
	return nil
}

// scan looks at the frames that have come since the last time, unless the queue moves: none expires in it.
func (e *expiry) scan(ctx context.Context, p *port) error {
	name := p.config.Name
	first, err := e.broker.NextQueued(ctx, name, 0)
	if err != nil || first == nil || time.Since(first.Stored) < expiryLook {
		return err
	}
	e.seen[name] = max(e.seen[name], first.Seq-1)
	for {
		f, err := e.broker.NextQueued(ctx, name, e.seen[name]+1)
		if err != nil || f == nil {
			return err
		}
		e.seen[name] = f.Seq
		m := mortal{port: p, frame: *f, bytes: len(f.Data)}
		m.since, m.ttl = f.Waits()
		switch age := p.config.Queue.MaxAge; {
		case m.ttl > 0 && (age == 0 || m.ttl < age):
			m.expiry = m.since.Add(m.ttl)
		case age > 0:
			m.expiry = m.since.Add(age)
		default:
			continue
		}
		if m.ttl == 0 || e.kept()+len(f.Data) > expiryKept {
			m.frame.Data, m.frame.Header = nil, nil
		}
		at, _ := slices.BinarySearchFunc(e.waiting, m.expiry, func(o mortal, t time.Time) int { return o.expiry.Compare(t) })
		e.waiting = slices.Insert(e.waiting, at, m)
	}
}

func (e *expiry) kept() (n int) {
	for _, m := range e.waiting {
		n += len(m.frame.Data)
	}
	return n
}

// expire takes a frame out whose time has come, unless it was sent or a writer has it in hand.
func (e *expiry) expire(ctx context.Context, m mortal, now time.Time) error {
	delivered, acknowledged, err := e.broker.Progress(ctx, m.port.config.Name)
	if err != nil {
		return err
	}
	open := m.port.held.Load() != nil
	if m.frame.Seq <= acknowledged || open && m.frame.Seq <= delivered || m.port.memory.ring.Written(m.frame.Seq) {
		return nil
	}
	reason := ipc.Stale(m.since, now, m.ttl, m.port.config.Queue.MaxAge)
	told, err := e.broker.Expire(ctx, m.port.config.Name, m.frame, reason)
	if told {
		m.port.memory.ring.CountExpired()
		e.log.Warn("a frame was not sent", "port", m.port.config.Name, "bytes", m.bytes, "reason", reason)
	}
	return err
}
