package worker

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Why an answer does not come.
var (
	errAway = errors.New("there is no connection to the gateway") // nothing was sent
	errCut  = errors.New("the connection to the gateway broke")   // it may have been received
)

// waiter is somebody who waits for something that the gateway may forbid.
type waiter struct {
	concerns func(subject string) bool
	answer   bool // what it waits for does not come after the connection broke
	cancel   context.CancelCauseFunc
}

// waiting makes a context that ends, with the cause, when the broker forbids a subject that is concerned, and when the worker
// is closed.
func (w *Worker) waiting(ctx context.Context, answer bool, concerns func(subject string) bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	closed := context.AfterFunc(w.open, func() { cancel(context.Cause(w.open)) })
	r := &waiter{concerns, answer, cancel}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiters[r] = struct{}{}
	return ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.waiters, r)
		closed()
		cancel(context.Canceled)
	}
}

// ask sends a request and waits for its answer. Errors that can be told apart: errAway, errCut, ErrNotAllowed,
// nats.ErrNoResponders, and those of ctx.
func (w *Worker) ask(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	if err := context.Cause(w.open); err != nil {
		return nil, err
	}
	own, done := w.waiting(ctx, true, func(subject string) bool { return subject == m.Subject })
	defer done()
	answer, err := w.nc.RequestMsgWithContext(own, m)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrDisconnected):
		return nil, errAway
	case own.Err() != nil:
		return nil, context.Cause(own)
	}
	return nil, err
}

// connected waits until there is a connection.
func (w *Worker) connected(ctx context.Context) error {
	w.mu.Lock()
	back := w.back
	w.mu.Unlock()
	if w.nc.IsConnected() {
		return nil
	}
	select {
	case <-back:
		return nil
	case <-w.open.Done():
		return context.Cause(w.open)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What the connection's handlers find goes to standard error, as sd-daemon(3) has it: warnings, in the supervisor's log.
var warnings = log.New(os.Stderr, "<4>", log.Lmsgprefix)

func (w *Worker) disconnected(err error) {
	if err != nil {
		warnings.Printf("lost the gateway, connecting again: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for r := range w.waiters {
		if r.answer {
			r.cancel(errCut)
		}
	}
}

func (w *Worker) reconnected() {
	warnings.Print("connected to the gateway again")
	w.mu.Lock()
	w.refusedSince = time.Time{}
	close(w.back)
	w.back = make(chan struct{})
	w.mu.Unlock()
	// Only now do subscriptions miss nothing any more. If this fails there is another connection to come.
	_ = w.nc.FlushTimeout(answerLimit)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.reconnects {
		select {
		case c <- struct{}{}:
		default: // it has not noticed the last time yet
		}
	}
}

// notReconnected gives up when the gateway does not know us any more: a successor may have taken this worker's place.
func (w *Worker) notReconnected(err error) {
	if !errors.Is(err, nats.ErrAuthorization) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refusedSince.IsZero() {
		w.refusedSince = time.Now()
	}
	if time.Since(w.refusedSince) > refusedLimit {
		w.close(fmt.Errorf("worker: the gateway at %s does not know user and password any more: %w", w.nc.Opts.Url, err))
	}
}

// noteReconnects lets a channel with room for one token know of each new connection.
func (w *Worker) noteReconnects(c chan struct{}) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reconnects = append(w.reconnects, c)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range w.reconnects {
			if w.reconnects[i] == c {
				w.reconnects = append(w.reconnects[:i], w.reconnects[i+1:]...)
				return
			}
		}
	}
}

// denied passes on what the broker forbids to who waits for it.
func (w *Worker) denied(err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		return // loops over frames find out themselves
	}
	heard := false
	if subject, ok := ipc.DeniedSubject(err); ok {
		w.mu.Lock()
		for r := range w.waiters {
			if r.concerns(subject) {
				r.cancel(fmt.Errorf("%w: its role or ports do not include %s", ErrNotAllowed, subject))
				heard = true
			}
		}
		w.mu.Unlock()
	}
	if !heard {
		warnings.Print(err)
	}
}
