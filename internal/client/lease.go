package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// EnvLease is the environment variable with the token of a lease.
const EnvLease = "SERIALVISOR_LEASE"

// Lease is the right to be the only one that writes to a port.
type Lease struct {
	Token string

	client *Client
	port   string
	ttl    time.Duration
	alive  *nats.Subscription
}

// Acquire takes a lease for as long as the client is connected and renews it, see Keep.
func (c *Client) Acquire(ctx context.Context, port, holder string, ttl time.Duration) (*Lease, error) {
	l := &Lease{client: c, port: port, ttl: ttl}
	var err error
	// Nobody says anything there. That somebody listens tells the supervisor that we live.
	if l.alive, err = c.nc.SubscribeSync(c.nc.NewInbox()); err != nil {
		return nil, fmt.Errorf("port %s: lease: %w", port, err)
	}
	reply, err := l.ask(ctx, ipc.LeaseRequest{Action: ipc.LeaseAcquire, TTL: ttl.String(), Holder: holder, Alive: l.alive.Subject})
	if err != nil {
		_ = l.alive.Unsubscribe()
		return nil, err
	}
	l.Token = reply.Token
	return l, nil
}

// Keep renews the lease until ctx ends (nil) or it is lost, which is an error.
func (l *Lease) Keep(ctx context.Context) error {
	renewed := time.Now()
	tick := time.NewTicker(l.ttl / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-l.client.back: // to a supervisor that may know nothing of it
		}
		err := l.Held(ctx)
		var refusal *refusedError
		switch {
		case err == nil:
			renewed = time.Now()
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &refusal), time.Since(renewed) > l.ttl:
			return err
		}
	}
}

// Held renews the lease, or returns an error if it is not held any more.
func (l *Lease) Held(ctx context.Context) error {
	_, err := l.ask(ctx, ipc.LeaseRequest{Action: ipc.LeaseRenew, TTL: l.ttl.String(), Token: l.Token})
	return err
}

// Release gives the lease back.
func (l *Lease) Release(ctx context.Context) error {
	_, err := l.ask(ctx, ipc.LeaseRequest{Action: ipc.LeaseRelease, Token: l.Token})
	return errors.Join(err, l.alive.Unsubscribe())
}

func (l *Lease) ask(ctx context.Context, r ipc.LeaseRequest) (reply ipc.LeaseReply, err error) {
	err = l.client.ask(ctx, fmt.Sprintf("port %s: lease", l.port), answerLimit, nats.NewMsg(l.client.Subjects.Lease(l.port)), r, &reply)
	if errors.Is(err, errDenied) {
		return reply, l.client.deniedPort(ctx, "lease", l.port, ipc.RoleSend)
	}
	if nobodyAnswers(err) {
		if _, err := l.client.Port(ctx, l.port); err != nil {
			return reply, err
		}
	}
	return reply, err
}
