package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// QueuedFrame is a frame that waits in a port's queue.
type QueuedFrame struct {
	Queue  string // which one it is; sequences count in it
	Seq    uint64
	Stored time.Time
	Header nats.Header
	Data   []byte
}

// Backlog counts the frames that wait, those in a writer's hands included, for each port that has any.
func (b *Broker) Backlog(ctx context.Context) (map[string]uint64, error) {
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	waiting := map[string]uint64{}
	for _, planned := range b.planned() {
		s, err := b.handle(ctx, planned.name)
		if err != nil {
			return nil, err
		}
		// Mostly there is nothing, and this the shorter answer: the other one lists all that the stream is for.
		switch first, err := nextOn(ctx, s, b.subjects.Tx("*"), 0); {
		case err != nil:
			return nil, fmt.Errorf("stream %s: %w", planned.name, err)
		case first == nil:
			continue
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", planned.name, err)
		}
		for subject, n := range info.State.Subjects {
			if port, _, ok := b.subjects.Split(subject); ok {
				waiting[port] = n
			}
		}
	}
	return waiting, nil
}

// handle is a way to a stream of the queue, asked for once.
func (b *Broker) handle(ctx context.Context, stream string) (jetstream.Stream, error) {
	b.mu.Lock()
	s, ok := b.handles[stream]
	b.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handles[stream] = s
	return s, nil
}

// forgetHandles has streams be asked for again, as they may be others of the same names.
func (b *Broker) forgetHandles() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.handles)
	clear(b.unused)
}

// NextQueued is the first frame in a port's queue from a sequence on, or nil.
func (b *Broker) NextQueued(ctx context.Context, port string, from uint64) (*QueuedFrame, error) {
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	return b.nextQueued(ctx, port, from)
}

// nextQueued must be called with asked held.
func (b *Broker) nextQueued(ctx context.Context, port string, from uint64) (*QueuedFrame, error) {
	t := b.Target(port)
	if t.Stream == "" {
		return nil, nil
	}
	s, err := b.handle(ctx, t.Stream)
	if err != nil {
		return nil, err
	}
	m, err := nextOn(ctx, s, b.subjects.Tx(port), from)
	if err != nil {
		return nil, fmt.Errorf("port %s: read its queue: %w", port, err)
	}
	if m == nil {
		return nil, nil
	}
	return &QueuedFrame{ipc.QueueToken(incarnation(s)), m.Sequence, m.Time, m.Header, m.Data}, nil
}

// Progress says how far a port's queue has been handed to its writer, or passed where nothing is left of it, and how many
// frames that writer was handed.
func (b *Broker) Progress(ctx context.Context, port string) (delivered, deliveries uint64, err error) {
	t := b.Target(port)
	if t.Stream == "" {
		return 0, 0, nil
	}
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	c, err := b.js.Consumer(ctx, t.Stream, t.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("port %s: progress of its queue: %w", port, err)
	}
	info := c.CachedInfo()
	return info.Delivered.Stream, info.Delivered.Consumer, nil
}

// FollowOutcomes has heard called for each frame of a port's queue of which is told what became of it, from now on until stop.
func (b *Broker) FollowOutcomes(ctx context.Context, port string, heard func(queue string, seq uint64)) (stop func(), err error) {
	var all []*nats.Subscription
	stop = func() {
		for _, s := range all {
			_ = s.Unsubscribe() // fails when the connection is closed
		}
	}
	for _, subject := range []string{b.subjects.Sent(port), b.subjects.Expired(port)} {
		s, err := b.traffic.Subscribe(subject, func(m *nats.Msg) {
			if queue, seq, ok := ipc.ParseSentID(port, m.Header.Get(ipc.HeaderMsgID)); ok {
				heard(queue, seq)
			}
		})
		if err != nil {
			stop()
			return nil, fmt.Errorf("port %s: follow what is sent: %w", port, err)
		}
		all = append(all, s)
	}
	if err := b.traffic.FlushWithContext(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("port %s: follow what is sent: %w", port, err)
	}
	return stop, nil
}

// HearOutcomes returns when all that was told up to now has come to those that follow it.
func (b *Broker) HearOutcomes(ctx context.Context) error { return b.traffic.FlushWithContext(ctx) }

// Expire takes a frame out of a port's queue, if it is there, and tells that it was not sent. seen is what was read of it
// before, and becomes all of it. It returns false if it is gone and seen does not say what it was, or the queue is another.
func (b *Broker) Expire(ctx context.Context, port string, seen *QueuedFrame, reason string) (bool, error) {
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	now, err := b.nextQueued(ctx, port, seen.Seq)
	if err != nil {
		return false, err
	}
	stream := b.Target(port).Stream
	if stream == "" {
		return false, nil
	}
	s, err := b.handle(ctx, stream)
	if err != nil {
		return false, err
	}
	if seen.Queue != ipc.QueueToken(incarnation(s)) {
		return false, nil
	}
	if now != nil && now.Seq == seen.Seq {
		*seen = *now
		if err := s.DeleteMsg(ctx, seen.Seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return false, fmt.Errorf("port %s: take a frame out of its queue: %w", port, err)
		}
	} else if seen.Header == nil {
		return false, nil
	}
	err = b.traffic.PublishMsg(&nats.Msg{Subject: b.subjects.Expired(port), Data: ipc.ExpiredData(b.traffic, seen.Data), Header: ipc.ExpiredHeader(port, seen.Queue, seen.Seq, reason, time.Now())})
	if err != nil {
		return false, fmt.Errorf("port %s: tell that a frame was not sent: %w", port, err)
	}
	return true, nil
}

// Waits says since when a frame waits, and how long it may by its own headers; 0: as long as it takes.
func (f QueuedFrame) Waits() (since time.Time, ttl time.Duration) {
	return ipc.Waits(f.Header, f.Stored)
}
