package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// createQueues brings the streams of the queue to the plan. When the config has moved a port from one stream to another,
// what waits for it moves along, in order; what waits for a port that is no longer configured stays until it is again.
func (b *Broker) createQueues(ctx context.Context) (changed bool, err error) {
	if err := b.changeStorage(ctx); err != nil {
		return false, err
	}
	existing, err := b.queueStreams(ctx)
	if err != nil {
		return false, err
	}
	// Streams must not overlap, so ports leave their old streams first.
	var moves []move
	for _, old := range existing {
		i := slices.IndexFunc(b.planned(), func(s stream) bool { return s.name == old.Config.Name })
		m := b.leaving(old, i)
		if len(m.ports) == 0 && (i >= 0 || slices.Equal(old.Config.Subjects, []string{retired(old.Config.Name)})) {
			continue
		}
		changed = true
		if err := b.narrow(ctx, old, m.ports, i >= 0); err != nil {
			return false, err
		}
		if len(m.ports) > 0 {
			moves = append(moves, m)
		}
	}
	for _, s := range b.planned() {
		created, err := b.createQueue(ctx, s)
		if err != nil {
			return false, err
		}
		changed = changed || created
	}
	for _, m := range moves {
		if err := b.moveMessages(ctx, m); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// rewindQueues makes the consumers of ports' queues.
func (b *Broker) rewindQueues(ctx context.Context, ports []Queue) error {
	for _, q := range ports {
		if _, err := b.RewindQueue(ctx, q.Port); err != nil {
			return err
		}
	}
	return nil
}

// move is what has to leave a stream: the subjects of some ports.
type move struct {
	from  string
	ports []string
}

// queueStreams lists the streams of the queue that an earlier run has left, with how much they hold of each subject.
func (b *Broker) queueStreams(ctx context.Context) ([]*jetstream.StreamInfo, error) {
	var found []*jetstream.StreamInfo
	list := b.js.ListStreams(ctx)
	for info := range list.Info() {
		if name := info.Config.Name; name == b.subjects.Queue() || strings.HasPrefix(name, b.subjects.QueueOf("")) {
			found = append(found, info)
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("broker: list streams: %w", err)
	}
	for i, info := range found {
		s, err := b.js.Stream(ctx, info.Config.Name)
		if err == nil {
			found[i], err = s.Info(ctx, jetstream.WithSubjectFilter(">"))
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", info.Config.Name, err)
		}
	}
	return found, nil
}

// leaving finds the configured ports with messages in old that the plan keeps in another stream. planned is old's place
// in the plan, or negative.
func (b *Broker) leaving(old *jetstream.StreamInfo, planned int) move {
	m := move{from: old.Config.Name}
	for _, q := range *b.queues.Load() {
		subject := b.subjects.Tx(q.Port)
		// A move that was interrupted has left messages without the subject, and so has a port that was not configured for a while.
		had := slices.Contains(old.Config.Subjects, subject) || old.State.Subjects[subject] > 0
		stays := planned >= 0 && slices.Contains(b.planned()[planned].ports, q.Port)
		if had && !stays {
			m.ports = append(m.ports, q.Port)
		}
	}
	return m
}

// narrow takes ports' subjects and consumers from a stream, without touching messages. One left without subjects, or that the
// plan does not have, gets one that nobody may publish on.
func (b *Broker) narrow(ctx context.Context, old *jetstream.StreamInfo, ports []string, planned bool) error {
	config := old.Config
	for _, port := range ports {
		if err := b.js.DeleteConsumer(ctx, config.Name, port); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("stream %s: consumer %s: %w", config.Name, port, err)
		}
	}
	config.Subjects = slices.DeleteFunc(slices.Clone(config.Subjects), func(s string) bool {
		return slices.ContainsFunc(ports, func(port string) bool { return s == b.subjects.Tx(port) })
	})
	if len(config.Subjects) == 0 || !planned {
		config.Subjects = []string{retired(config.Name)}
	}
	if _, err := b.js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("stream %s: %w", config.Name, err)
	}
	return nil
}

func (b *Broker) createQueue(ctx context.Context, s stream) (created bool, err error) {
	config := jetstream.StreamConfig{
		Name: s.name, Description: "frames that wait to be written",
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		MaxMsgsPerSubject: s.limits.MaxMessages, MaxMsgSize: int32(s.maxFrame), Duplicates: duplicates,
		// Frames that are too old are not left to the server, apart from the header Nats-TTL, which it would not take
		// otherwise: it drops them without a word.
		AllowMsgTTL: true,
	}
	// A wildcard would also store what is meant for a mistyped port.
	for _, port := range s.ports {
		config.Subjects = append(config.Subjects, b.subjects.Tx(port))
	}
	if s.limits.Memory {
		config.Storage = jetstream.MemoryStorage
	}
	return ensureStream(ctx, b.js, config)
}

// moveMessages publishes what a stream holds for ports that left it again, into their new streams, and deletes it.
// Each copy has an id, so that a crash in between doubles nothing that the new stream still remembers.
func (b *Broker) moveMessages(ctx context.Context, m move) error {
	from, err := b.js.Stream(ctx, m.from)
	if err != nil {
		return fmt.Errorf("stream %s: %w", m.from, err)
	}
	for _, port := range m.ports {
		if b.Target(port).Stream == "" {
			continue // queue: none; they wait until the port has a queue again
		}
		if err := b.moveSubject(ctx, from, b.subjects.Tx(port)); err != nil {
			return err
		}
	}
	info, err := from.Info(ctx)
	if err != nil {
		return fmt.Errorf("stream %s: %w", m.from, err)
	}
	planned := slices.ContainsFunc(b.planned(), func(s stream) bool { return s.name == m.from })
	if info.State.Msgs == 0 && !planned {
		if err := b.js.DeleteStream(ctx, m.from); err != nil {
			return fmt.Errorf("stream %s: %w", m.from, err)
		}
	}
	return nil
}

// moveSubject publishes what a stream holds on a subject that it does not listen to any more.
func (b *Broker) moveSubject(ctx context.Context, from jetstream.Stream, subject string) error {
	name := from.CachedInfo().Config.Name
	for {
		raw, err := from.GetMsg(ctx, 0, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("stream %s: read what waits on %s: %w", name, subject, err)
		}
		msg := &nats.Msg{Subject: subject, Header: raw.Header, Data: raw.Data}
		if msg.Header == nil {
			msg.Header = nats.Header{}
		}
		msg.Header.Set(ipc.HeaderMsgID, fmt.Sprintf("%s.%d", name, raw.Sequence))
		if _, err := b.js.PublishMsg(ctx, msg); err != nil {
			return fmt.Errorf("stream %s: move what waits on %s: %w; set its queue settings as before until it is empty", name, subject, err)
		}
		if err := from.DeleteMsg(ctx, raw.Sequence); err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
	}
}
