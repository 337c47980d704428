package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Lease is the right to be the only one that writes to a port. It is renewed until Close, and ends by itself within a fifth of a second
// when the worker dies.
type Lease struct {
	w     *Worker
	port  string
	ttl   time.Duration
	token string
	alive *nats.Subscription
	held  context.Context // until the lease is over; its cause says why
	end   context.CancelCauseFunc
	kept  chan struct{} // closed when nobody renews it any more
}

// Lease takes the lease of a port. ttl, from 100ms to 24h, is how long it lasts without being renewed; it is renewed three times as often.
// ctx limits only how long taking it may take. ErrLeased says that somebody else has one.
func (w *Worker) Lease(ctx context.Context, port string, ttl time.Duration) (*Lease, error) {
	if ttl < ipc.ShortestLease || ttl > ipc.LongestLease {
		return nil, fmt.Errorf("port %s: a lease of %s: it can be from %s to %s", port, ttl, ipc.ShortestLease, ipc.LongestLease)
	}
	l := &Lease{w: w, port: port, ttl: ttl, kept: make(chan struct{})}
	var err error
	// Nobody says anything there. That somebody listens tells the supervisor that we live.
	if l.alive, err = w.nc.SubscribeSync(w.nc.NewInbox()); err != nil {
		return nil, fmt.Errorf("port %s: lease: %w", port, err)
	}
	reply, err := l.ask(ctx, ipc.LeaseRequest{Action: ipc.LeaseAcquire, TTL: ttl.String(), Holder: w.name, Alive: l.alive.Subject})
	if err != nil {
		_ = l.alive.Unsubscribe()
		return nil, err
	}
	l.token = reply.Token
	l.held, l.end = context.WithCancelCause(context.Background())
	w.inFlight.Go(l.keep)
	return l, nil
}

// Token goes into the header Serial-Lease of what other programs write in this lease.
func (l *Lease) Token() string { return l.token }

// Done is closed when the lease is over: after Close, or when it was lost, which Err tells.
func (l *Lease) Done() <-chan struct{} { return l.held.Done() }

// Err is why the lease was lost, or nil while it is held and after Close.
func (l *Lease) Err() error {
	if err := context.Cause(l.held); !errors.Is(err, errClosed) {
		return err
	}
	return nil
}

// Send is the worker's Send, in the lease.
func (l *Lease) Send(ctx context.Context, data []byte, options ...SendOption) (sequence uint64, err error) {
	return l.w.Send(ctx, l.port, data, append(options[:len(options):len(options)], LeaseToken(l.token))...)
}

// Request is the worker's Request, in the lease.
func (l *Lease) Request(ctx context.Context, data []byte, options ...RequestOption) ([]byte, error) {
	return l.w.Request(ctx, l.port, data, append(options[:len(options):len(options)], LeaseToken(l.token))...)
}

// Close gives the lease back. What is written in it must have been answered before.
func (l *Lease) Close() error {
	l.end(errClosed)
	<-l.kept
	return l.Err()
}

// keep renews the lease until it ends, and gives it back.
func (l *Lease) keep() {
	defer close(l.kept)
	renewed := time.Now()
	tick := time.NewTicker(l.ttl / 3)
	defer tick.Stop()
	for {
		select {
		case <-l.w.open.Done():
			l.end(context.Cause(l.w.open))
			continue
		case <-l.held.Done():
			l.release()
			return
		case <-tick.C:
		}
		_, err := l.ask(l.held, ipc.LeaseRequest{Action: ipc.LeaseRenew, TTL: l.ttl.String(), Token: l.token})
		var refused *Error
		switch {
		case err == nil:
			renewed = time.Now()
		case errors.As(err, &refused), time.Since(renewed) > l.ttl:
			l.end(fmt.Errorf("port %s: the lease was lost: %w", l.port, err))
		}
	}
}

// release gives back what may be held. That nobody listens any more does so anyway.
func (l *Lease) release() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	request, err := json.Marshal(ipc.LeaseRequest{Action: ipc.LeaseRelease, Token: l.token})
	if err == nil {
		_, _ = l.w.nc.RequestWithContext(ctx, l.w.subjects.Lease(l.port), request)
	}
	_ = l.alive.Unsubscribe()
}

func (l *Lease) ask(ctx context.Context, r ipc.LeaseRequest) (reply ipc.LeaseReply, err error) {
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	m := nats.NewMsg(l.w.subjects.Lease(l.port))
	if m.Data, err = json.Marshal(r); err != nil {
		return reply, fmt.Errorf("port %s: encode request: %w", l.port, err)
	}
	answer, err := l.w.ask(limited, m)
	if errors.Is(err, nats.ErrNoResponders) {
		if _, err := l.w.port(ctx, l.port); err != nil {
			return reply, err
		}
	}
	if err != nil {
		return reply, fmt.Errorf("port %s: lease: no answer: %w", l.port, err)
	}
	if answer.Header.Get(ipc.HeaderError) != "" {
		return reply, refusal(l.port, answer)
	}
	if err := json.Unmarshal(answer.Data, &reply); err != nil {
		return reply, fmt.Errorf("port %s: lease: answer: %w", l.port, err)
	}
	return reply, nil
}
