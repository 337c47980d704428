package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

const (
	// rememberedFor is how long a queue surely remembers a frame's id, a little less than its stream's duplicate window.
	rememberedFor = 4 * time.Second
	// retryWriter is how often a port that is open and whose writer is being replaced is asked again.
	retryWriter = 20 * time.Millisecond
)

// SendOption is an option of Send. There are TTL and LeaseToken.
type SendOption interface{ sending(h nats.Header) error }

type ttl time.Duration

// TTL is how long a frame may wait in the queue, in whole seconds, from one on. One that is older is not sent; serial.<port>.expired says
// so.
func TTL(d time.Duration) SendOption { return ttl(d) }

func (d ttl) sending(h nats.Header) error {
	if t := time.Duration(d); t <= 0 || t%time.Second != 0 {
		return fmt.Errorf("TTL %s: it takes whole seconds, such as 5s", t)
	}
	h.Set(ipc.HeaderTTL, time.Duration(d).String())
	return nil
}

// Send queues a frame for a port and returns when the queue has stored it. With line framing the delimiter is appended unless it is there.
// The sequence is the one in the header Serial-Queue-Seq of serial.<port>.sent, where the frame is published when it was written.
// Of a port with queue: none it returns when the frame was written.
//
// Errors that can be told apart: ErrQueueFull, ErrUnknownPort, ErrNotAllowed, and for a port with queue: none ErrNotOpen and
// ErrLeased. With these the frame was not queued. Refusals are of type *Error.
//
// While there is no connection to the gateway Send waits until there is, or ctx ends: give it one that does. When the connection
// breaks before the answer has come, the frame is queued again under the same id, which queues it once; where that is not
// certain, and when the queue does not answer for 5 s, the error is ErrUncertain.
func (w *Worker) Send(ctx context.Context, port string, data []byte, options ...SendOption) (sequence uint64, err error) {
	m := nats.NewMsg(w.subjects.Tx(port))
	m.Data = data
	m.Header.Set(ipc.HeaderMsgID, port+".worker."+rand.Text())
	for _, option := range options {
		if err := option.sending(m.Header); err != nil {
			return 0, fmt.Errorf("port %s: %w", port, err)
		}
	}
	if limit := w.nc.MaxPayload(); int64(len(data)) > limit {
		return 0, fmt.Errorf("port %s: the frame has %d bytes, the gateway takes at most %d", port, len(data), limit)
	}
	s := &sending{w: w, port: port, m: m}
	for {
		if err := s.connected(ctx); err != nil {
			return 0, err
		}
		if sequence, again, err := s.try(ctx); !again {
			return sequence, err
		}
	}
}

// sending is a frame on its way to a queue.
type sending struct {
	w    *Worker
	port string
	m    *nats.Msg

	first  time.Time // when it was sent without an answer for the first time; zero: it was not
	nobody time.Time // since when nobody is there
}

// connected waits for a connection on which the frame can be sent without being doubled.
func (s *sending) connected(ctx context.Context) error {
	if ctx.Err() != nil {
		return s.ended(ctx.Err())
	}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if !s.first.IsZero() {
		limited, cancel = context.WithDeadline(ctx, s.first.Add(rememberedFor))
	}
	defer cancel()
	if err := s.w.connected(limited); err != nil {
		return s.ended(err)
	}
	// Another supervisor, as after an upgrade, remembers the ids of those frames only that are still in its queue. Others were
	// sent to the device, long before which their answers had gone out.
	if !s.first.IsZero() && time.Since(s.first) > rememberedFor {
		return s.ended(errCut)
	}
	return nil
}

// ended words why there is no answer.
func (s *sending) ended(err error) error {
	if s.first.IsZero() {
		return fmt.Errorf("port %s: the frame was not queued: %w", s.port, err)
	}
	return fmt.Errorf("port %s: %w: no answer from its queue: %w", s.port, ErrUncertain, err)
}

// try sends the frame once. again: it is to be tried once more.
func (s *sending) try(ctx context.Context) (sequence uint64, again bool, err error) {
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	now := time.Now()
	answer, err := s.w.ask(limited, s.m)
	switch {
	case err == nil:
		sequence, err = s.read(answer)
		return sequence, false, err
	case errors.Is(err, errAway):
		return 0, true, nil
	case errors.Is(err, nats.ErrNoResponders):
		if s.nobody.IsZero() {
			s.nobody = now
		}
		// A queue is away for a moment when the gateway mends its store.
		err = s.w.awaitWriter(ctx, s.port, s.nobody, s.w.hasQueue(s.port))
		return 0, err == nil, err
	case errors.Is(err, ErrNotAllowed):
		return 0, false, fmt.Errorf("port %s: %w", s.port, err)
	}
	if s.first.IsZero() {
		s.first = now
	}
	if errors.Is(err, errCut) && s.w.hasQueue(s.port) {
		return 0, true, nil
	}
	return 0, false, s.ended(err)
}

// awaitWriter returns nil when it makes sense to try again a port where nobody was there, or says why it does not.
func (w *Worker) awaitWriter(ctx context.Context, port string, since time.Time, anyState bool) error {
	p, err := w.port(ctx, port)
	switch {
	case err != nil:
		return err
	case p.State != ipc.Open && !anyState:
		return &Error{Port: port, Code: ipc.CodeNotOpen, Text: fmt.Sprintf("port %s is %s: %s", port, p.State, p.Error)}
	case time.Since(since) > answerLimit:
		return fmt.Errorf("port %s: nobody takes frames for it; see `supervisor status`", port)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("port %s: %w", port, ctx.Err())
	case <-time.After(retryWriter):
		return nil
	}
}

// read reads the queue's answer, or that of a writer, which has the same form.
func (s *sending) read(m *nats.Msg) (sequence uint64, err error) {
	var ack ipc.PubAck
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, fmt.Errorf("port %s: answer of the queue: %w", s.port, err)
	}
	switch e := ack.Error; {
	case e == nil:
		s.w.noteQueue(s.port, ack.Stream != ipc.NoQueue)
		return ack.Sequence, nil
	case e.JetStream == ipc.QueueFull:
		return 0, &Error{s.port, e.JetStream, fmt.Sprintf("the queue of port %s is full: %s; is its device there?", s.port, e.Description), nil}
	case e.JetStream != 0:
		return 0, &Error{s.port, e.JetStream, fmt.Sprintf("port %s: its queue refused the frame: %s", s.port, e.Description), nil}
	default:
		return 0, &Error{s.port, e.Code, e.Description, nil} // it names the port
	}
}

func (w *Worker) hasQueue(port string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queued[port]
}

func (w *Worker) noteQueue(port string, has bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queued[port] = has
}
