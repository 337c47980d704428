package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// recent is how far back from the last frame that was sent the history is searched: a frame leaves the queue soon after it
// was written.
const recent = time.Minute

// surelyKnown is how long ago a frame may have been queued for the history to know it by its id for sure, if it was sent.
var surelyKnown = duplicates / 2

// TakeOutTold takes frames out of a port's queue that the history has as sent, if one may have been told so long ago that
// the history would not know it by its id: their writer died before it could take them out, and its successor would tell of
// them twice. Only while no writer of the port runs.
func (b *Broker) TakeOutTold(ctx context.Context, port string) error {
	t := b.Target(port)
	if t.Stream == "" || b.opts.History.Off {
		return nil
	}
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	queue, first, err := b.firstQueued(ctx, t)
	if err != nil || first == nil || time.Since(first.Time) < surelyKnown {
		return err
	}
	told, err := b.toldSince(ctx, t, queue, first)
	if err != nil {
		return err
	}
	for _, seq := range told {
		if err := queue.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // it is out
			return fmt.Errorf("port %s: take a frame out of its queue that was sent: %w", port, err)
		}
	}
	return nil
}

// Written lists the frames that are in a port's queue although the history says that they were written: their writer died
// with the supervisor before it could take them out.
func (b *Broker) Written(ctx context.Context, port string) ([]uint64, error) {
	t := b.Target(port)
	if t.Stream == "" || b.opts.History.Off {
		return nil, nil
	}
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	queue, first, err := b.firstQueued(ctx, t)
	if err != nil || first == nil {
		return nil, err
	}
	return b.toldSince(ctx, t, queue, first)
}

// firstQueued is the first frame in a port's queue, or nil.
func (b *Broker) firstQueued(ctx context.Context, t ipc.Target) (jetstream.Stream, *jetstream.RawStreamMsg, error) {
	queue, err := b.handle(ctx, t.Stream)
	if err != nil {
		return nil, nil, fmt.Errorf("port %s: its queue: %w", t.Port, err)
	}
	first, err := nextOn(ctx, queue, b.subjects.Tx(t.Port), 0)
	if err != nil {
		return nil, nil, fmt.Errorf("port %s: the first frame of its queue: %w", t.Port, err)
	}
	return queue, first, nil
}

// toldSince lists the frames from the first in a port's queue on of which the history says that they were sent.
func (b *Broker) toldSince(ctx context.Context, t ipc.Target, queue jetstream.Stream, first *jetstream.RawStreamMsg) ([]uint64, error) {
	port := t.Port
	history, err := b.historyStream(ctx)
	if err != nil {
		return nil, err
	}
	last, err := history.GetLastMsgForSubject(ctx, b.subjects.Sent(port))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("port %s: the last frame in the history: %w", port, err)
	}
	from := last.Time.Add(-recent)
	if first.Time.After(from) {
		from = first.Time // it was told later than it was queued
	}
	if from.After(last.Time) {
		return nil, nil
	}
	consumer, err := history.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{b.subjects.Sent(port)}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &from,
	})
	if err != nil {
		return nil, fmt.Errorf("port %s: what was sent, in the history: %w", port, err)
	}
	var written []uint64
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("port %s: what was sent, in the history: %w", port, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return written, fmt.Errorf("port %s: what was sent, in the history: %w", port, err)
		}
		text, ours := strings.CutPrefix(m.Headers().Get(ipc.HeaderMsgID), ipc.SentPrefix(port, ipc.QueueToken(incarnation(queue))))
		if seq, err := strconv.ParseUint(text, 10, 64); ours && err == nil && seq >= first.Sequence {
			written = append(written, seq)
		}
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream >= last.Sequence {
			return written, err
		}
	}
}
