package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// retry is how often something is tried again while a supervisor comes up.
const retry = 20 * time.Millisecond

// link says whether a connection is whole.
type link struct {
	mu    sync.Mutex      // guards all below
	whole context.Context // ends when the connection breaks
	broke context.CancelFunc
	again chan struct{} // closed when it is whole again
}

func newLink() *link {
	l := &link{}
	l.made()
	return l
}

// made notes that the connection is whole.
func (l *link) made() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole, l.broke = context.WithCancel(context.Background())
	if l.again != nil {
		close(l.again)
	}
	l.again = make(chan struct{})
}

// broken notes that it is not.
func (l *link) broken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broke()
}

// await returns when the connection is whole, with a context that ends when it breaks.
func (l *link) await(ctx context.Context) (context.Context, error) {
	for {
		l.mu.Lock()
		whole, again := l.whole, l.again
		l.mu.Unlock()
		if whole.Err() == nil {
			return whole, nil
		}
		select {
		case <-again:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// errBroken ends a request whose answer will not come: the connection broke when it was made. Somebody may have got it.
var errBroken = errors.New("the supervisor was replaced or has ended meanwhile")

// once makes a request, when the connection is whole, and returns its answer, which is waited for until ctx ends or the connection
// breaks (errBroken), or the broker refuses it (errDenied).
func (c *Client) once(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	whole, err := c.link.await(ctx)
	if err != nil {
		return nil, unsent(err)
	}
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(whole, func() { cancel(errBroken) })
	defer stop()
	allowed := c.denials.watch(func(subject string) bool { return subject == m.Subject }, func() { cancel(errDenied) })
	defer allowed()
	answer, err := c.nc.RequestMsgWithContext(limited, m)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrNoResponders):
		return nil, unsent(err)
	case ctx.Err() == nil && errors.Is(context.Cause(limited), errBroken):
		return nil, errBroken
	case ctx.Err() == nil && errors.Is(context.Cause(limited), errDenied):
		return nil, errDenied
	}
	return nil, err
}

// errUnsent is of requests that nobody has got.
var errUnsent = errors.New("nobody has got the request")

func unsent(cause error) error { return fmt.Errorf("%w: %w", errUnsent, cause) }

// again waits before something is tried again that was begun some time ago and failed: because the supervisor is being upgraded, or
// starts. It returns an error if there is none that could answer, it has had its time, or ctx ends.
func (c *Client) again(ctx context.Context, begun time.Time, cause error) error {
	h, held := c.place.Holder()
	switch {
	case c.nc.IsClosed():
		return fmt.Errorf("the supervisor at %s has gone away", c.url)
	case c.place.byEnviron() && (nobodyAnswers(cause) || time.Since(begun) > comesUp):
		return cause
	case c.place.byEnviron():
	case !held && (errors.Is(cause, errUnsent) || time.Since(begun) > answerLimit):
		return cause
	case time.Since(begun) > comesUp:
		return h.silent(c.place, cause)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retry):
		return nil
	}
}
