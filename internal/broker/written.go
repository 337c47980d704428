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

// Written lists the frames that are in a port's queue although the history says that they were written: their writer died
// with the supervisor before it could take them out.
func (b *Broker) Written(ctx context.Context, port string) ([]uint64, error) {
	t := b.Target(port)
	if t.Stream == "" || b.opts.History.Off {
		return nil, nil
	}
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	queue, err := b.js.Stream(ctx, t.Stream)
	if err != nil {
		return nil, fmt.Errorf("port %s: its queue: %w", port, err)
	}
	first, err := queue.GetMsg(ctx, 0, jetstream.WithGetMsgSubject(b.subjects.Tx(port)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("port %s: the first frame of its queue: %w", port, err)
	}
	js, err := jetstream.New(b.traffic)
	if err != nil {
		return nil, err
	}
	history, err := js.Stream(ctx, b.subjects.History())
	if err != nil {
		return nil, fmt.Errorf("the history: %w", err)
	}
	last, err := history.GetLastMsgForSubject(ctx, b.subjects.Sent(port))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("port %s: the last frame in the history: %w", port, err)
	}
	from := last.Time.Add(-recent)
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
		text, ours := strings.CutPrefix(m.Headers().Get(ipc.HeaderMsgID), ipc.SentPrefix(port, t.Stream))
		if seq, err := strconv.ParseUint(text, 10, 64); ours && err == nil && seq >= first.Sequence {
			written = append(written, seq)
		}
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream >= last.Sequence {
			return written, err
		}
	}
}
