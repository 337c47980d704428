package reader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/publish"
	"github.com/serialvisor/serialvisor/internal/ring"
	"github.com/serialvisor/serialvisor/internal/worker"
)

const (
	// stalled is how long frames wait for room in a full queue, and with them the reader, before they are given up:
	// a device that is gone for days must not stop what another one says.
	stalled = 2 * time.Second
	// glance is how often a full queue is looked at while a frame waits for it, and peek how often once frames were given
	// up, when a look is all that a frame gets. One that does not answer takes peek for itself, and is not asked for a while.
	glance = 5 * time.Millisecond
	peek   = 20 * time.Millisecond
	rest   = 10 * peek
	// fewest is how much room a queue must have for frames to be sent without waiting for each. It is ample for what
	// other senders may add meanwhile.
	fewest = 64
)

// forwarder queues what one port receives for another, or for itself.
//
// A full queue refuses frames. If many were under way then, a later one could find room and overtake. Therefore the
// forwarder spends a credit: it asks how full the queue is, sends at most half of what fits, waits until all is stored
// and asks again; near the limit it sends one at a time.
type forwarder struct {
	*worker.Worker
	target ipc.Target
	alike  bool // the target frames as this port does, so that flags mean the same to it
	nc     *nats.Conn
	queue  *publish.Publisher // nil: there is no queue, the target's writer listens itself
	credit int64
	lost   bool // the last frame was given up
	// waits is called before the forwarder waits, for others not to wait along.
	waits  func()
	settle func(n uint64) // notes that frames before number n are queued or given up
	look   time.Time      // when the queue is looked at next, once frames were given up
	sent   uint64         // frames before this number were published; without a queue, and settle has not been told
	letGo  uint64         // what sent was when relieve settled it
}

func newForwarder(w *worker.Worker, nc *nats.Conn, target ipc.Target, alike bool, waits func(), settle func(uint64)) (*forwarder, error) {
	f := &forwarder{Worker: w, target: target, alike: alike, nc: nc, waits: waits, settle: settle}
	if target.Stream == "" {
		return f, nil
	}
	var err error
	f.queue, err = publish.New(nc, w.Log.With("forward_to", target.Port), settle)
	return f, err
}

// Resend repeats what may have been lost with a connection.
func (f *forwarder) Resend() {
	if f.queue != nil {
		f.queue.Resend()
	}
}

// Run does the forwarder's background work until ctx ends.
func (f *forwarder) Run(ctx context.Context) error {
	if f.queue == nil {
		return nil
	}
	return f.queue.Run(ctx)
}

// Flush waits until what was forwarded is stored, or ctx ends.
func (f *forwarder) Flush(ctx context.Context) error {
	if f.queue != nil {
		return f.queue.Flush(ctx)
	}
	return f.nc.FlushWithContext(ctx)
}

// forward queues one frame, in pieces if it is too long for the target's queue. To a target of another framing it is a
// frame like any other, whatever its flags are.
func (f *forwarder) forward(ctx context.Context, payload []byte, flags frame.Flags, from ring.Frame) {
	if flags &^= frame.Gap; !f.alike {
		flags = 0
	}
	offset := from.Offset
	for {
		m := f.message(payload, flags, offset)
		if excess := m.Size() - len(m.Subject) - f.target.MaxBytes; excess > 0 && excess < len(payload) {
			cut := len(payload) - excess - len(ipc.HeaderFlags) - len(": continued\r\n")
			if cut > 0 {
				piece := flags
				if f.target.Framing == frame.Line { // others encode each piece, or add nothing to it
					piece |= frame.Continued
				}
				f.put(ctx, f.message(payload[:cut], piece, offset), from.Number)
				payload, offset = payload[cut:], offset+uint64(cut)
				continue
			}
		}
		f.put(ctx, m, from.Number+1)
		return
	}
}

func (f *forwarder) message(payload []byte, flags frame.Flags, offset uint64) *nats.Msg {
	m := &nats.Msg{Subject: f.Subjects.Tx(f.target.Port), Data: payload, Header: nats.Header{
		ipc.HeaderMsgID: {ipc.ForwardID(f.target.Port, f.Spec.Port, f.Spec.Session, f.Spec.Key, offset)},
	}}
	if flags != 0 {
		m.Header[ipc.HeaderFlags] = []string{flags.String()}
	}
	return m
}

// put queues a message, or gives it up. With it all frames before number n are settled.
func (f *forwarder) put(ctx context.Context, m *nats.Msg, n uint64) {
	var err error
	if f.queue == nil {
		if err = f.nc.PublishMsg(m); err == nil {
			f.sent = n
		}
	} else if err = f.admit(ctx); err == nil {
		err = f.publish(ctx, m, n)
	}
	if err == nil {
		f.lost = false
		return
	}
	f.settle(n)
	f.Ring.CountLostForward()
	if !f.lost {
		f.Log.Warn("frames are not forwarded; counted in status as lost_forward", "to", f.target.Port, "error", err)
	}
	f.lost = true
}

// publish hands a message to the queue's publisher. A queue that does not answer is not waited for either.
func (f *forwarder) publish(ctx context.Context, m *nats.Msg, n uint64) error {
	limited, cancel := context.WithTimeout(ctx, f.patience())
	defer cancel()
	err := f.queue.Publish(limited, m, n)
	if err != nil {
		f.credit, f.look = 0, time.Now().Add(rest)
		return fmt.Errorf("its queue does not answer: %w", err)
	}
	f.sent = n
	return nil
}

// patience is how long a frame may wait.
func (f *forwarder) patience() time.Duration {
	if f.lost {
		return peek
	}
	return stalled
}

// relieve settles the frames that are under way to a queue that does not answer: their room is needed. The publisher keeps
// them still, and only the death of the reader could lose them. If none has waited for long it returns how long one may yet.
func (f *forwarder) relieve() (wait time.Duration) {
	if f.queue == nil {
		return stalled
	}
	since, underWay := f.queue.Oldest()
	if !underWay || f.sent == f.letGo {
		return glance // all is settled, or about to be
	}
	if wait = stalled - time.Since(since); wait > 0 {
		return wait
	}
	f.letGo = f.sent
	f.settle(f.sent)
	return 0
}

// released settles what was published without a queue, now that it has gone out.
func (f *forwarder) released() {
	if f.queue == nil && f.sent > 0 {
		f.settle(f.sent)
		f.sent = 0
	}
}

var errQueueFull = errors.New("its queue is full")

// admit waits for a credit. Once frames were given up it does not wait again until there is room.
func (f *forwarder) admit(ctx context.Context) error {
	if f.credit > 0 {
		f.credit--
		return nil
	}
	if f.lost && time.Now().Before(f.look) {
		return errQueueFull
	}
	f.waits()
	wait, cancel := context.WithTimeout(ctx, f.patience())
	defer cancel()
	f.look = time.Now().Add(rest)
	if err := f.queue.Flush(wait); err != nil {
		return err
	}
	for sure := false; ; {
		waiting, err := f.waiting(wait)
		if err != nil {
			return err
		}
		f.look = time.Now().Add(peek)
		switch room := f.target.MaxMessages - waiting; {
		case room >= fewest:
			f.credit = room/2 - 1
			return nil
		case room > 1, room == 1 && sure:
			return nil
		case room == 1:
			// The count can lag behind what was stored a moment ago.
			sure = true
			time.Sleep(time.Millisecond)
			continue
		}
		if f.lost {
			return errQueueFull
		}
		select {
		case <-time.After(glance):
		case <-wait.Done():
			return errQueueFull
		}
	}
}

// waiting asks how many messages are in the target's queue.
func (f *forwarder) waiting(ctx context.Context) (int64, error) {
	m, err := f.nc.RequestWithContext(ctx, "$JS.API.CONSUMER.INFO."+f.target.Stream+"."+f.target.Consumer, nil)
	if err != nil {
		return 0, fmt.Errorf("ask how full its queue is: %w", err)
	}
	var info struct {
		Pending    int64 `json:"num_pending"`
		AckPending int64 `json:"num_ack_pending"`
		Error      *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &info); err != nil {
		return 0, fmt.Errorf("ask how full its queue is: %w", err)
	}
	if info.Error != nil {
		return f.target.MaxMessages, nil // its writer is being replaced: as good as full, for a moment
	}
	return info.Pending + info.AckPending, nil
}
