package writer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/ring"
)

// pullAgain is how long a request for frames is valid, and pullBeat how often the queue says that it is. With hundreds of ports
// that is most of what there is to do while nothing is sent. When the store has lost a request the supervisor says so.
const (
	pullAgain = 5 * time.Minute
	pullBeat  = 30 * time.Second
)

// prefetch is how many frames the writer holds that are not written yet.
const prefetch = 256

// consume begins to take frames, from the queue or straight from senders. stop ends it.
func (w *writer) consume(ctx, background context.Context, helpers *errgroup.Group) (stop func(), err error) {
	if w.Spec.Queue.Stream == "" {
		return func() {}, w.listen(background, helpers)
	}
	js, err := jetstream.New(w.control)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	consumer, err := js.Consumer(ctx, w.Spec.Queue.Stream, w.Spec.Queue.Consumer)
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", w.Spec.Queue.Stream, err)
	}
	if _, err := w.control.Subscribe(w.Subjects.Leased(w.Spec.Port), func(*nats.Msg) { w.leaseChanged() }); err != nil {
		return nil, fmt.Errorf("listen for leases: %w", err)
	}
	consuming, err := consumer.Consume(w.takeQueued, jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(pullAgain), jetstream.PullHeartbeat(pullBeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { w.Log.Debug("queue", "error", err) }))
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", w.Spec.Queue.Stream, err)
	}
	return consuming.Stop, nil
}

// takeQueued writes a frame from the queue, or puts it aside while another client has a lease.
func (w *writer) takeQueued(m jetstream.Msg) {
	w.parked.mu.Lock()
	defer w.parked.mu.Unlock()
	meta, err := m.Metadata()
	if err != nil {
		w.Log.Error("a message in the queue has no sequence", "error", err)
		return
	}
	w.tx.HandedOut(meta.Sequence.Stream)
	w.parked.last = meta.Sequence.Consumer
	w.unpark()
	if wait, lease := w.writeQueued(m, meta, w.parked.any()); wait {
		w.park(m, meta, lease)
	}
	w.handled(meta.Sequence.Consumer)
}

// handled notes for the supervisor, when nothing is parked, that the queue's frames up to the n-th handed out have been seen to:
// a frame whose time is over is its to tell of then, if it was none of them. parked.mu must be held.
func (w *writer) handled(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped && !w.parked.any() {
		w.tx.Handled(n)
	}
}

// writeQueued writes a frame from the queue, unless it has to wait for a lease to end, of which it returns the number. behind
// says that others before it wait: only a holder's frame passes those, even when the lease has ended in this moment. One that
// a predecessor has written is only told and taken out of the queue.
func (w *writer) writeQueued(m jetstream.Msg, meta *jetstream.MsgMetadata, behind bool) (wait bool, lease uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return false, 0 // it stays in the queue
	}
	seq := meta.Sequence.Stream
	from := ipc.QueueToken(w.Ring.Source())
	w.tellLeft(from, seq)
	f, refusal := w.frameOf(ring.Queued, seq, m.Headers(), m.Data())
	if !w.tx.Done(seq) {
		if refusal == "" {
			w.awaitNote()
			if !w.mayBegin() {
				return false, 0
			}
			since, ttl := ipc.Waits(m.Headers(), meta.Timestamp)
			refusal = ipc.Stale(since, time.Now(), ttl, w.Spec.Queue.MaxAge)
		}
		if refusal != "" {
			w.expire(from, seq, m.Data(), refusal, m)
			return false, 0
		}
		if lease, leased := w.leasedToOther(m.Headers()); leased || behind && lease.Left() == 0 {
			return true, w.leaseVersion
		}
		if w.write(f) != nil {
			return false, 0
		}
	}
	// Told close to when it happened and before what the device answers.
	w.tell(from, f, m)
	return false, 0
}

// tellLeft tells of the frame that a predecessor has left if its message does not come: the queue has dropped it meanwhile.
func (w *writer) tellLeft(stream string, next uint64) {
	if w.untold == nil || next < w.untold.Seq {
		return // it passed others
	}
	if next > w.untold.Seq {
		w.tell(stream, *w.untold, nil)
	}
	w.untold = nil
}

// awaitNote waits until there is room for the note that a frame was written.
func (w *writer) awaitNote() {
	for !w.tx.Reserve() {
		select {
		case <-time.After(time.Millisecond):
		case <-w.stopping:
			w.stopped = true
			return
		}
	}
}

// frameOf puts a frame together as it goes to the device, or says why it cannot be sent. No frame may be in hand.
func (w *writer) frameOf(kind ring.Kind, seq uint64, h nats.Header, payload []byte) (f ring.Sending, refusal string) {
	flags, err := frame.ParseFlags(h.Get(ipc.HeaderFlags))
	switch {
	case err != nil:
		return f, fmt.Sprintf("header %s: %v", ipc.HeaderFlags, err)
	case len(payload) > w.maxBytes:
		return f, fmt.Sprintf("it has %d bytes, more than max_bytes: %d", len(payload), w.maxBytes)
	}
	f = ring.Sending{Kind: kind, Seq: seq, Wire: w.codec.Append(w.tx.Room()[:0], payload, flags)}
	if len(f.Wire) > len(w.tx.Room()) {
		return f, fmt.Sprintf("it has %d bytes on the line, for which there is no room", len(f.Wire))
	}
	return f, ""
}
