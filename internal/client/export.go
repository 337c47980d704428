package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// ExportOptions say what to take out of the history.
type ExportOptions struct {
	Port  string
	Since time.Duration // > 0: of the last so long; 0: all that is kept
}

// quiet is how long nothing comes before an export looks whether anything is left to come.
const quiet = time.Second

// Port asks for the status of a port.
func (c *Client) Port(ctx context.Context, name string) (ipc.PortStatus, error) {
	_, status, err := c.StatusJSON(ctx)
	if err != nil {
		return ipc.PortStatus{}, err
	}
	for _, p := range status.Ports {
		if p.Name == name {
			return p, nil
		}
	}
	return ipc.PortStatus{}, errUnknownPort(name, status)
}

// Export passes to write what the history holds of a port, in order, and returns when it has passed the last message
// that was stored when it began. Received frames have their Wire, by the framing that the port has now; astray counts
// those that do not join to the one before: bytes between them were lost, or the framing was another. The connection
// must be one that is not made again when it breaks.
func (c *Client) Export(ctx context.Context, o ExportOptions, write func(capture.Record) error) (astray int, err error) {
	port, err := c.Port(ctx, o.Port)
	if err != nil {
		return 0, err
	}
	all, err := Rebuilders(ipc.Status{Ports: []ipc.PortStatus{port}})
	if err != nil {
		return 0, err
	}
	rebuilder := all[o.Port]
	stream, err := c.history(ctx)
	if errors.Is(err, errDenied) {
		return 0, c.deniedPort(ctx, "read the history of", o.Port, ipc.RoleTap)
	}
	if err != nil {
		return 0, err
	}
	once := &repeats{}
	err = readStored(ctx, stream, c.watched([]string{o.Port}), o.Since, func(m jetstream.Msg, stored time.Time) error {
		r, ok := recordOf(c.Subjects, m.Subject(), m.Headers(), m.Data())
		if !ok || once.seen(r) {
			return nil
		}
		if r.Time.IsZero() {
			r.Time = stored
		}
		if r.Kind == capture.Rx {
			r.Wire, _ = rebuilder.bytes(r)
		}
		return write(r)
	})
	if errors.Is(err, errDenied) {
		return 0, c.deniedPort(ctx, "read the history of", o.Port, ipc.RoleTap)
	}
	return rebuilder.astray, err
}

// readStored passes the messages of some subjects up to the last that the stream held when it was asked for.
func readStored(ctx context.Context, stream jetstream.Stream, subjects []string, since time.Duration, pass func(m jetstream.Msg, stored time.Time) error) error {
	last := stream.CachedInfo().State.LastSeq
	passed := uint64(0) // up to this sequence
	for attempt := 0; ; attempt++ {
		before := passed
		err := readUpTo(ctx, stream, subjects, since, last, &passed, pass)
		if passed > before {
			attempt = 0
		}
		// A supervisor that mends its store forgets who reads, without a word to them.
		if !errors.Is(err, jetstream.ErrConsumerNotFound) || attempt == consumerAttempts {
			return err
		}
	}
}

// consumerAttempts is how often an export that has got nothing since is gone on with.
const consumerAttempts = 3

// readUpTo passes messages behind passed, which it moves, up to the last.
func readUpTo(ctx context.Context, stream jetstream.Stream, subjects []string, since time.Duration, last uint64, passed *uint64, pass func(jetstream.Msg, time.Time) error) error {
	consumer, err := readHistory(ctx, stream, subjects, since, *passed)
	if err != nil {
		return err
	}
	left := consumer.CachedInfo().NumPending
	messages, err := consumer.Messages()
	if err != nil {
		return historyError(err)
	}
	defer messages.Stop()
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	settled := false // nothing is left, by the last answer, to which what was on its way may come second
	for left > 0 {
		m, err := messages.Next(jetstream.NextMaxWait(quiet))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, nats.ErrTimeout):
			// What was still to come may have grown too old to be kept.
			if settled {
				return nil
			}
			n, err := pending(ctx, consumer)
			if err != nil {
				return err
			}
			settled = n == 0
			continue
		case errors.Is(err, jetstream.ErrConnectionClosed):
			return errors.New("the supervisor has gone away before all was read")
		case err != nil:
			return historyError(err)
		}
		settled = false
		meta, err := m.Metadata()
		if err != nil {
			return historyError(err)
		}
		if meta.Sequence.Stream > last {
			return nil
		}
		if err := pass(m, meta.Timestamp); err != nil {
			return err
		}
		*passed = meta.Sequence.Stream
		left = min(meta.NumPending, last-meta.Sequence.Stream)
	}
	return nil
}

// pending is how many messages a consumer has not delivered yet.
func pending(ctx context.Context, consumer jetstream.Consumer) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	info, err := consumer.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the history: %w", err)
	}
	return info.NumPending, nil
}
