package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// subjects are those of the gateways.
var subjects = ipc.Subjects{Root: ipc.DefaultRoot}

// readHistory passes the messages of the history on a subject, message by message: unlike tap it does not hide what is
// there twice.
func readHistory(ctx context.Context, nc *nats.Conn, subject string, see func(stored)) error {
	consumer, err := historyOf(ctx, nc, subject, jetstream.DeliverAllPolicy)
	if err != nil {
		return err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	defer messages.Stop()
	for n := range info.NumPending {
		limited, cancel := context.WithTimeout(ctx, patience)
		m, err := messages.Next(jetstream.NextContext(limited))
		cancel()
		if err != nil {
			return fmt.Errorf("read the history: after %d of %d messages on %s: %w", n, info.NumPending, subject, err)
		}
		see(storedOf(m))
	}
	return nil
}

// lastOf is the last message of the history on a subject.
func lastOf(ctx context.Context, nc *nats.Conn, subject string) (stored, error) {
	consumer, err := historyOf(ctx, nc, subject, jetstream.DeliverLastPolicy)
	if err != nil {
		return stored{}, err
	}
	m, err := consumer.Next(jetstream.FetchMaxWait(time.Second))
	if err != nil {
		return stored{}, err
	}
	return storedOf(m), nil
}

func historyOf(ctx context.Context, nc *nats.Conn, subject string, begin jetstream.DeliverPolicy) (jetstream.Consumer, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return js.OrderedConsumer(ctx, subjects.History(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: begin})
}

// lastSequence counts what the history was ever given.
func lastSequence(ctx context.Context, nc *nats.Conn) (uint64, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	s, err := js.Stream(ctx, subjects.History())
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.LastSeq, nil
}

func storedOf(m jetstream.Msg) stored {
	h := m.Headers()
	s := stored{flags: h.Get(ipc.HeaderFlags), payload: m.Data()}
	id := h.Get(ipc.HeaderMsgID) // <port>.<session>.<offset>
	if parts := strings.Split(id, "."); len(parts) == 3 {
		s.session = parts[1]
	}
	s.offset, _ = strconv.ParseUint(h.Get(ipc.HeaderOffset), 10, 64)
	s.queue, _ = strconv.ParseUint(h.Get(ipc.HeaderQueueSeq), 10, 64)
	if at, err := time.Parse(time.RFC3339Nano, h.Get(ipc.HeaderTime)); err == nil {
		s.at = at.UnixNano()
	}
	return s
}

// patience is how long something may take that takes no time on a machine with nothing else to do.
const patience = 60 * time.Second

// quiet is how long nothing at all may happen while something is waited for.
const quiet = 30 * time.Second

// rest brings everything to rest: it has the supervisor run and each device and sender say a last frame, and waits until all
// have come. What does not come is found missing later.
func (p *phase) rest(ctx context.Context) {
	if err := p.gateway.start(); err != nil {
		p.gateway.fail(err.Error())
		return
	}
	opening, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.gateway.allOpen(opening); err != nil {
		p.gateway.fail(err.Error())
	}
	for _, d := range p.devices {
		late := time.AfterFunc(patience, func() { d.unplug(false) }) // ends a Write
		if err := d.sayLast(ctx); err != nil {
			p.gateway.fail(err.Error())
		}
		if !late.Stop() {
			p.gateway.fail(fmt.Sprintf("what the device at %s says is not read", d.link))
		}
	}
	if err := p.settle(ctx); err != nil {
		p.gateway.fail(err.Error())
	}
}

// settle waits until the last frames have come, for as long as anything happens.
func (p *phase) settle(ctx context.Context) error {
	nc, err := connect(p.gateway.stateDir(), ipc.RoleTap)
	if err != nil {
		return err
	}
	defer nc.Close()
	var seen, before uint64
	for moved := time.Now(); ; {
		missing := p.missing(ctx, nc)
		if missing == nil {
			return nil
		}
		if seen, err = lastSequence(ctx, nc); err != nil {
			return fmt.Errorf("look at the history: %w", err)
		}
		for _, d := range p.devices {
			seen += uint64(d.received())
		}
		if seen != before {
			moved, before = time.Now(), seen
		}
		if time.Since(moved) > quiet {
			return fmt.Errorf("nothing has happened for %s, and something is missing: %w", quiet, missing)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// missing says which last frames have not come yet.
func (p *phase) missing(ctx context.Context, nc *nats.Conn) error {
	var missing []error
	for i, port := range p.ports {
		d, s := p.devices[i], p.senders[i]
		number, finished := s.last()
		if !finished {
			s.finish()
			missing = append(missing, fmt.Errorf("the sender to %s has no acknowledgement", port.name))
			continue
		}
		if m, err := lastOf(ctx, nc, subjects.Rx(port.name)); err != nil {
			missing = append(missing, fmt.Errorf("the history of %s: %w", port.name, err))
		} else if n, _ := d.speech.number(m.payload); n != d.count()-1 {
			missing = append(missing, fmt.Errorf("the history of %s has line %d last, of %d", port.name, n, d.count()))
		}
		if m, err := lastOf(ctx, nc, subjects.Sent(port.name)); err != nil {
			missing = append(missing, fmt.Errorf("the history of what was sent to %s: %w", port.name, err))
		} else if n, _ := d.order.number(m.payload); n != number {
			missing = append(missing, fmt.Errorf("the history has frame %d to %s as the last that was sent, not %d", n, port.name, number))
		}
		if !d.has(number) {
			missing = append(missing, fmt.Errorf("the device at %s has not got frame %d", port.name, number))
		}
	}
	return errors.Join(missing...)
}
