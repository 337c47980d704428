package writer

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/crash"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/ring"
)

// tell publishes a frame on sent, as it was written. When the history has it, m is taken out of the queue; m may be nil.
func (w *writer) tell(stream string, f ring.Sending, m jetstream.Msg) {
	h := ipc.OutcomeHeader(w.Spec.Port, stream, f.Seq, time.Now())
	if f.Kind == ring.Requested {
		delete(h, ipc.HeaderQueueSeq) // it was in no queue, and must not be taken for a frame that was
	}
	w.publish(&nats.Msg{Subject: w.Subjects.Sent(w.Spec.Port), Data: append([]byte(nil), f.Wire...), Header: h}, f.Seq, m)
	crash.Point("tx-told")
}

// tellDirect is tell for a frame that came from no queue.
func (w *writer) tellDirect(f ring.Sending) {
	w.tell(w.Spec.Session, f, nil)
	w.tx.Told()
}

// expire publishes a frame that is not sent, with the reason.
func (w *writer) expire(stream string, seq uint64, payload []byte, reason string, m jetstream.Msg) {
	w.Ring.CountExpired()
	w.Log.Warn("a frame was not sent", "bytes", len(payload), "reason", reason)
	h := ipc.ExpiredHeader(w.Spec.Port, stream, seq, reason, time.Now())
	w.publish(&nats.Msg{Subject: w.Subjects.Expired(w.Spec.Port), Data: ipc.ExpiredData(w.traffic, payload), Header: h}, seq, m)
}

func (w *writer) publish(news *nats.Msg, seq uint64, m jetstream.Msg) {
	var err error
	if w.history != nil {
		err = w.history.Publish(context.Background(), news, w.acks.add(seq, m))
	} else {
		err = w.traffic.PublishMsg(news)
		w.acks.now(ack{seq, m})
	}
	if err != nil {
		w.Log.Warn("could not tell what was sent", "error", err)
	}
}

// acks takes frames out of the queue in the order in which they were written, each when the history knows what became of
// it. Till then a successor gets them again, and tells.
type acks struct {
	log  *slog.Logger
	gone func(seq uint64) // told of each
	work chan struct{}    // holds a token after settled has moved

	mu      sync.Mutex // guards all below
	waiting []ack      // oldest first
	added   uint64     // how many ever were
	settled uint64     // how many of those may go
}

type ack struct {
	seq uint64
	m   jetstream.Msg // nil: there is nothing to acknowledge
}

func newAcks(log *slog.Logger, gone func(seq uint64)) *acks {
	return &acks{log: log, gone: gone, work: make(chan struct{}, 1)}
}

// add takes a frame in, and returns the mark that settles it.
func (a *acks) add(seq uint64, m jetstream.Msg) (mark uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = append(a.waiting, ack{seq, m})
	a.added++
	return a.added
}

// settle says that the first frames, up to a mark, may be acknowledged.
func (a *acks) settle(mark uint64) {
	a.mu.Lock()
	a.settled = max(a.settled, mark)
	a.mu.Unlock()
	select {
	case a.work <- struct{}{}:
	default:
	}
}

// Run acknowledges until ctx ends.
func (a *acks) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.work:
			a.send()
		}
	}
}

// retryAck is how soon an acknowledgement is tried again that could not be sent.
const retryAck = 100 * time.Millisecond

// send acknowledges what may be.
func (a *acks) send() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.waiting) > 0 && a.added-uint64(len(a.waiting)) < a.settled {
		if !a.now(a.waiting[0]) {
			time.AfterFunc(retryAck, func() { a.settle(0) })
			return
		}
		a.waiting = a.waiting[1:]
	}
}

// now acknowledges a frame. It returns false if the connection to the queue is broken at the moment.
func (a *acks) now(k ack) bool {
	if k.m == nil {
		return true
	}
	if err := k.m.Ack(); err != nil {
		a.log.Debug("a frame was not taken out of the queue", "error", err)
		return false
	}
	a.gone(k.seq)
	return true
}
