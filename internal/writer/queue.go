package writer

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// prefetch is how many frames the writer holds that are not written yet.
const prefetch = 256

// consume begins to take frames, from the queue or straight from senders. stop ends it.
func (w *writer) consume(ctx context.Context) (stop func(), err error) {
	if w.Spec.Queue.Stream == "" {
		return w.listen()
	}
	js, err := jetstream.New(w.control)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	consumer, err := js.Consumer(ctx, w.Spec.Queue.Stream, w.Spec.Queue.Consumer)
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", w.Spec.Queue.Stream, err)
	}
	consuming, err := consumer.Consume(w.takeQueued, jetstream.PullMaxMessages(prefetch),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { w.Log.Debug("queue", "error", err) }))
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", w.Spec.Queue.Stream, err)
	}
	return consuming.Stop, nil
}

// takeQueued writes a frame from the queue. That it was sent is told first, close to when it happened and before what the
// device answers; the acknowledgement takes it out of the queue.
func (w *writer) takeQueued(m jetstream.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	meta, err := m.Metadata()
	if err != nil {
		w.Log.Error("a message in the queue has no sequence", "error", err)
		return
	}
	o := order{payload: m.Data(), stream: meta.Stream, sequence: meta.Sequence.Stream}
	reason := ""
	if o.flags, err = flagsOf(m.Headers()); err != nil {
		reason = err.Error()
	} else if len(o.payload) > w.maxBytes {
		reason = fmt.Sprintf("it has %d bytes, more than max_bytes: %d", len(o.payload), w.maxBytes)
	}
	if reason == "" && w.write(o) != nil {
		return // it stays in the queue
	}
	if reason == "" {
		w.tell(o)
	} else {
		w.expire(o, reason)
	}
	if err := m.Ack(); err != nil {
		w.Log.Warn("could not take a frame out of the queue; it may be sent twice", "error", err)
	}
}

// listen takes frames from senders over plain NATS. A sender with a reply subject learns when its frame was written, in
// the form of a stream's PubAck, whose sequence is the one in Serial-Queue-Seq.
func (w *writer) listen() (stop func(), err error) {
	sequence := uint64(0)
	sub, err := w.control.Subscribe(w.Subjects.Tx(w.Spec.Port), func(m *nats.Msg) {
		w.mu.Lock()
		defer w.mu.Unlock()
		sequence++
		o := order{payload: m.Data, stream: w.Spec.Session, sequence: sequence}
		flags, err := flagsOf(m.Header)
		switch {
		case err != nil:
			w.refuse(m, 400, err.Error())
			return
		case len(o.payload) > w.maxBytes:
			w.refuse(m, 400, fmt.Sprintf("the frame has %d bytes, port %s takes max_bytes: %d", len(o.payload), w.Spec.Port, w.maxBytes))
			return
		}
		o.flags = flags
		if err := w.write(o); err != nil {
			w.refuse(m, 503, fmt.Sprintf("port %s: the frame was not written: %v", w.Spec.Port, err))
			return
		}
		w.tell(o)
		w.answer(m, nil, ack{Stream: "none", Sequence: sequence})
	})
	if err != nil {
		return nil, fmt.Errorf("listen for frames: %w", err)
	}
	if err := w.control.Flush(); err != nil {
		return nil, fmt.Errorf("listen for frames: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// ack has the shape of JetStream's PubAck, so that a sender need not know whether a port has a queue.
type ack struct {
	Stream   string    `json:"stream"`
	Sequence uint64    `json:"seq"`
	Error    *ackError `json:"error,omitempty"`
}

type ackError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

func (w *writer) refuse(m *nats.Msg, code int, reason string) {
	if m.Reply == "" {
		w.Log.Warn("a frame was not sent", "bytes", len(m.Data), "reason", reason)
	}
	w.answer(m, nats.Header{
		ipc.HeaderErrorCode: {strconv.Itoa(code)}, ipc.HeaderError: {reason},
	}, ack{Error: &ackError{code, reason}})
}

// answer replies to a sender. Only an inbox is answered: any other subject would make the writer publish there for
// somebody who may not.
func (w *writer) answer(m *nats.Msg, header nats.Header, a ack) {
	if !strings.HasPrefix(m.Reply, nats.InboxPrefix[:len(nats.InboxPrefix)-1]) {
		return
	}
	body, err := json.Marshal(a)
	if err == nil {
		err = w.control.PublishMsg(&nats.Msg{Subject: m.Reply, Header: header, Data: body})
	}
	if err != nil {
		w.Log.Debug("a sender was not answered", "error", err)
	}
}

func flagsOf(h nats.Header) (frame.Flags, error) {
	flags, err := frame.ParseFlags(h.Get(ipc.HeaderFlags))
	if err != nil {
		return 0, fmt.Errorf("header %s: %w", ipc.HeaderFlags, err)
	}
	return flags, nil
}
