package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// expiry takes frames out of the queues that have waited for longer than they may, and tells of them. A writer does it for
// those that it has in hand; expiry for all that wait, be the device away or just slow, and for those that a writer had in hand
// and did not come to before it ended.
//
// The server drops a frame with a TTL by itself and without a word, in a writer's hands or not. So a copy is kept of each until
// it is known what became of it: from what is told on sent and expired, for the progress of the queue says nothing of frames
// that were dropped.
type expiry struct {
	broker *broker.Broker
	port   func(name string) *port // nil: it is not configured any more
	folder *folder
	log    *slog.Logger

	outcomes outcomes

	mu      sync.Mutex                    // held while the queues are looked at; guards all below
	seen    map[string]broker.QueuedFrame // by port: the last frame in its queue that was looked at, without what it holds
	waiting []mortal                      // in the order in which they expire
	left    map[outcome]bool              // those of waiting that the supervisor before has left
}

// mortal is a frame that expires.
type mortal struct {
	Port   string
	Frame  broker.QueuedFrame // with a TTL; of others only where it is
	Bytes  int
	Since  time.Time // it has waited
	TTL    time.Duration
	Expiry time.Time

	mark uint64    // 1 + how many frames its writer had been handed when the queue had surely dropped it; 0: not known yet
	free time.Time // since then that writer has surely not got it
}

func (m mortal) id() outcome { return outcome{m.Port, m.Frame.Queue, m.Frame.Seq} }

const (
	// expiryLook is how often queues are looked at. A frame's TTL is a second at least, before which it must be seen.
	expiryLook = 500 * time.Millisecond
	// expiryYoung is how old a frame is before it is looked at.
	expiryYoung = expiryLook / 2
	// expiryLimit is how long one look may take.
	expiryLimit = 5 * time.Second
	// expiryGrace is how long after a frame's time the server has dropped it, and a writer has told of it that is not held up.
	expiryGrace = time.Second
	// expiryKept is how much of the frames with a TTL is kept, for the server drops them by itself. What is beyond can expire
	// without being told of.
	expiryKept = 16 << 20
)

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
		soonest, err := e.look(limited, expiryYoung)
		cancel()
		if err != nil {
			e.log.Debug("queues were not looked at for frames that expire", "error", err)
		}
		if !soonest.IsZero() {
			next.Reset(max(time.Until(soonest), time.Millisecond))
		}
	}
}

// look takes in what is new, apart from what is younger than young, and out what is due. It returns when the next is.
func (e *expiry) look(ctx context.Context, young time.Duration) (soonest time.Time, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	backlog, err := e.broker.Backlog(ctx)
	if err != nil {
		return soonest, err
	}
	for _, m := range e.waiting {
		backlog[m.Port] += 0 // all of it may be gone
	}
	for name := range backlog {
		if e.port(name) != nil { // else it waits until it is configured
			err = errors.Join(err, e.scan(ctx, name, young))
		}
	}
	e.settle()
	err = errors.Join(err, e.takeOut(ctx))
	e.outcomes.follow(e.kept)
	now := time.Now()
	for _, m := range e.waiting {
		if m.Expiry.After(now) {
			return m.Expiry, err
		}
	}
	return soonest, err
}

// scan looks at the frames that have come since the last time, unless the queue moves: none expires in it.
func (e *expiry) scan(ctx context.Context, name string, young time.Duration) error {
	first, err := e.broker.NextQueued(ctx, name, 0)
	if err != nil {
		return err
	}
	e.forget(name, first)
	if first == nil || time.Since(first.Stored) < young {
		return nil
	}
	p := e.port(name)
	last := e.seen[name]
	if last.Queue != first.Queue {
		last = broker.QueuedFrame{Queue: first.Queue}
	}
	last.Seq = max(last.Seq, first.Seq-1)
	kept := e.bytes()
	for {
		e.seen[name] = last
		f, err := e.broker.NextQueued(ctx, name, last.Seq+1)
		if err != nil || f == nil {
			return err
		}
		m := mortal{Port: name, Frame: *f, Bytes: len(f.Data)}
		m.Since, m.TTL = f.Waits()
		if m.TTL > 0 && !e.outcomes.follows(name) {
			// It is looked at once more, as what becomes of it is heard of only from now on.
			if err := e.outcomes.begin(ctx, e.broker, name); err != nil {
				return err
			}
			continue
		}
		last = broker.QueuedFrame{Queue: f.Queue, Seq: f.Seq}
		switch age := p.config.Queue.MaxAge; {
		case e.left[m.id()]:
			continue
		case m.TTL > 0 && (age == 0 || m.TTL < age):
			m.Expiry = m.Since.Add(m.TTL)
		case age > 0:
			m.Expiry = m.Since.Add(age)
		default:
			continue
		}
		if m.TTL == 0 || kept+len(f.Data) > expiryKept {
			m.Frame.Data, m.Frame.Header = nil, nil
		}
		kept += len(m.Frame.Data)
		e.insert(m)
	}
}

// forget forgets the frames of a port that have left its queue before their time: it was told what became of them. Of those that
// were moved to another queue the copies there count.
func (e *expiry) forget(name string, first *broker.QueuedFrame) {
	now := time.Now()
	e.waiting = slices.DeleteFunc(e.waiting, func(m mortal) bool {
		switch {
		case m.Port != name:
			return false
		case first != nil && first.Queue != m.Frame.Queue:
			return true
		}
		return (first == nil || m.Frame.Seq < first.Seq) && (m.Frame.Header == nil || m.Expiry.After(now))
	})
}

func (e *expiry) insert(m mortal) {
	at, _ := slices.BinarySearchFunc(e.waiting, m.Expiry, func(o mortal, t time.Time) int { return o.Expiry.Compare(t) })
	e.waiting = slices.Insert(e.waiting, at, m)
}

func (e *expiry) bytes() (n int) {
	for _, m := range e.waiting {
		n += len(m.Frame.Data)
	}
	return n
}

// kept says whether there are copies of a port's frames.
func (e *expiry) kept(port string) bool {
	return slices.ContainsFunc(e.waiting, func(m mortal) bool { return m.Port == port && m.Frame.Header != nil })
}

// settle forgets the frames of which was told what became of them.
func (e *expiry) settle() {
	heard := e.outcomes.take()
	e.waiting = slices.DeleteFunc(e.waiting, func(m mortal) bool { return heard[m.id()] })
}

// takeOut takes the frames out whose time has come.
func (e *expiry) takeOut(ctx context.Context) (err error) {
	now := time.Now()
	writers := map[string]*progress{}
	due := 0
	for due < len(e.waiting) && !e.waiting[due].Expiry.After(now) {
		due++
	}
	var left []mortal
	for i := range e.waiting[:due] {
		m := &e.waiting[i]
		done := false
		if ctx.Err() == nil {
			var failed error
			done, failed = e.expire(ctx, m, now, writers)
			err = errors.Join(err, failed)
		}
		if !done {
			left = append(left, *m)
		}
	}
	e.waiting = append(left, e.waiting[due:]...)
	return errors.Join(err, ctx.Err())
}

// expire tells of a frame whose time has come, unless it was sent or its writer has it in hand still. It returns whether the
// frame needs to be looked at no more.
func (e *expiry) expire(ctx context.Context, m *mortal, now time.Time, writers map[string]*progress) (done bool, err error) {
	p := e.port(m.Port)
	if p == nil {
		return false, nil
	}
	if ring := p.memory.ring; ipc.QueueToken(ring.Source()) == m.Frame.Queue {
		switch {
		case p.lasting.Load() && ring.InHand(m.Frame.Seq):
			return false, nil // its writer, or another, finishes it
		case ring.Written(m.Frame.Seq):
			return true, nil
		}
	}
	if p.writing.Load() {
		w := writers[m.Port]
		if w == nil {
			w = &progress{}
			if w.delivered, w.deliveries, err = e.broker.Progress(ctx, m.Port); err != nil {
				return false, err
			}
			w.handled = p.memory.ring.Handled()
			writers[m.Port] = w
		}
		if w.has(m, now) {
			return false, nil
		}
	}
	reason := ipc.Stale(m.Since, now, m.TTL, p.config.Queue.MaxAge)
	told, err := e.broker.Expire(ctx, m.Port, &m.Frame, reason)
	if told {
		p.memory.ring.CountExpired()
		e.log.Warn("a frame was not sent", "port", m.Port, "bytes", m.Bytes, "reason", reason)
	}
	return err == nil, err
}

// progress is how far a writer is.
type progress struct {
	delivered  uint64 // the queue has no frames up to this that the writer was not handed, or that were dropped
	deliveries uint64 // how many frames it was handed
	handled    uint64 // of how many of those none is with it any more
}

// has says whether a writer may have a frame in hand whose time is over, and will tell of it then.
func (w *progress) has(m *mortal, now time.Time) bool {
	switch {
	case m.Frame.Seq > w.delivered:
		return false
	case m.mark == 0:
		if now.Sub(m.Expiry) >= expiryGrace {
			m.mark = 1 + w.deliveries
		}
		return true
	case w.handled+1 < m.mark:
		return true
	case m.free.IsZero():
		m.free = now // what it has told is on its way
		return true
	}
	return now.Sub(m.free) < expiryLook
}
