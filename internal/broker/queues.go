package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// createQueues brings the streams of the queue to the plan. When the config has moved a port from one stream to another,
// what waits for it moves along, in order; what waits for a port that is no longer configured stays until it is again. A port
// whose frames cannot be moved has a queue that takes no more until they were.
func (b *Broker) createQueues(ctx context.Context) (changed bool, err error) {
	existing, err := b.queueStreams(ctx)
	if err != nil {
		return false, err
	}
	// Streams must not overlap, so ports leave their old streams first.
	var waiting []string // ports with frames where they do not belong
	for _, old := range existing {
		leaving, planned := b.leaving(old)
		if len(leaving) == 0 && (planned != nil || slices.Equal(old.Config.Subjects, []string{retired(old.Config.Name)})) {
			continue
		}
		changed = true
		if err := b.narrow(ctx, old, leaving, planned != nil); err != nil {
			return false, err
		}
		waiting = append(waiting, b.waitingIn(old, leaving)...)
	}
	aside, err := b.changeStorage(ctx, existing)
	if err != nil {
		return false, err
	}
	waiting = append(waiting, aside...)
	slices.Sort(waiting)
	waiting = slices.Compact(waiting)
	created, err := b.receive(ctx, existing, waiting)
	if err != nil {
		return false, err
	}
	var unmoved []string
	for _, port := range waiting {
		if err := b.gather(ctx, existing, b.subjects.Tx(port), b.Target(port).Stream); err != nil {
			if ctx.Err() != nil {
				return false, err
			}
			unmoved = append(unmoved, port)
			b.opts.Log.Error("what waits for a port could not be moved to its new queue, which takes no frames until it could", "port", port, "error", err,
				"remedy", "reload the config or start again when that is mended")
		}
	}
	open, err := b.openQueues(ctx, unmoved)
	if err != nil {
		return false, err
	}
	if changed {
		err = b.deleteEmpty(ctx)
	}
	b.forgetHandles() // some streams are others now
	return changed || created || open, err
}

// receive makes the streams that frames are moved into, and those whose limit shrinks, which would drop what waits beyond it.
// Nobody but the broker may publish there for the ports concerned, so that what comes now is not queued before what waits.
func (b *Broker) receive(ctx context.Context, existing []*jetstream.StreamInfo, waiting []string) (created bool, err error) {
	for _, s := range b.planned() {
		s.closed = intersection(s.ports, waiting)
		for _, old := range existing {
			if old.Config.Name == s.name {
				s.room = max(s.room, old.Config.MaxMsgsPerSubject)
				if old.Config.MaxMsgsPerSubject > s.limits.MaxMessages {
					s.closed = s.ports
				}
			}
		}
		if len(s.closed) == 0 {
			continue
		}
		total := map[string]int64{}
		for _, old := range existing {
			for subject, n := range old.State.Subjects {
				total[subject] += int64(n)
				s.room = max(s.room, total[subject])
			}
		}
		made, err := b.createQueue(ctx, s, true)
		if err != nil {
			return false, err
		}
		created = created || made
	}
	return created, nil
}

// openQueues makes the streams of the plan as they shall be, except for ports whose frames are elsewhere still. None has less
// room than it holds, as the server would drop the rest.
func (b *Broker) openQueues(ctx context.Context, unmoved []string) (created bool, err error) {
	plan := slices.Clone(b.planned())
	for i := range plan {
		s := &plan[i]
		s.room, s.closed = 0, intersection(s.ports, unmoved)
		switch old, err := b.js.Stream(ctx, s.name); {
		case err == nil:
			info, err := old.Info(ctx, jetstream.WithSubjectFilter(">"))
			if err != nil {
				return false, fmt.Errorf("stream %s: %w", s.name, err)
			}
			for _, n := range info.State.Subjects {
				s.room = max(s.room, int64(n))
			}
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return false, fmt.Errorf("stream %s: %w", s.name, err)
		}
		made, err := b.createQueue(ctx, *s, false)
		if err != nil {
			return false, err
		}
		created = created || made
	}
	b.plan.Store(&plan)
	return created, nil
}

func intersection(a, b []string) (both []string) {
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}

// deleteEmpty deletes the streams of the queue that are not in the plan and hold nothing any more.
func (b *Broker) deleteEmpty(ctx context.Context) error {
	existing, err := b.queueStreams(ctx)
	if err != nil {
		return err
	}
	for _, old := range existing {
		if b.plannedAs(old.Config.Name) != nil || old.State.Msgs > 0 {
			continue
		}
		if err := b.js.DeleteStream(ctx, old.Config.Name); err != nil {
			return fmt.Errorf("stream %s: %w", old.Config.Name, err)
		}
	}
	return nil
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

// plannedAs is a stream of the plan, or nil.
func (b *Broker) plannedAs(name string) *stream {
	plan := b.planned()
	if i := slices.IndexFunc(plan, func(s stream) bool { return s.name == name }); i >= 0 {
		return &plan[i]
	}
	return nil
}

// leaving finds the configured ports that have to do with a stream and are planned to be in another, or in none. planned is
// what the plan says of the stream.
func (b *Broker) leaving(old *jetstream.StreamInfo) (ports []string, planned *stream) {
	planned = b.plannedAs(old.Config.Name)
	for _, q := range *b.queues.Load() {
		subject := b.subjects.Tx(q.Port)
		// A move that was interrupted has left messages without the subject, and so has a port that was not configured for a while.
		had := slices.Contains(old.Config.Subjects, subject) || old.State.Subjects[subject] > 0
		if had && (planned == nil || !slices.Contains(planned.ports, q.Port)) {
			ports = append(ports, q.Port)
		}
	}
	return ports, planned
}

// waitingIn lists those ports that a stream holds frames for and that have a queue.
func (b *Broker) waitingIn(old *jetstream.StreamInfo, ports []string) (waiting []string) {
	for _, port := range ports {
		if old.State.Subjects[b.subjects.Tx(port)] > 0 && b.Target(port).Stream != "" {
			waiting = append(waiting, port)
		}
	}
	return waiting
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
		config.Subjects, config.SubjectTransform = []string{retired(config.Name)}, nil
	}
	if _, err := b.js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("stream %s: %w", config.Name, err)
	}
	return nil
}

// createQueue makes a stream of the queue as planned; receiving: for frames that are moved into it, too.
func (b *Broker) createQueue(ctx context.Context, s stream, receiving bool) (created bool, err error) {
	config := jetstream.StreamConfig{
		Name: s.name, Description: "frames that wait to be written",
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		MaxMsgsPerSubject: max(s.limits.MaxMessages, s.room), MaxMsgSize: int32(s.maxFrame), Duplicates: duplicates,
		// Frames that are too old are not left to the server, apart from the header Nats-TTL, which it would not take
		// otherwise: it drops them without a word.
		AllowMsgTTL: true,
	}
	// A wildcard would also store what is meant for a mistyped port.
	for _, port := range s.ports {
		if !slices.Contains(s.closed, port) {
			config.Subjects = append(config.Subjects, b.subjects.Tx(port))
		}
	}
	if receiving {
		b.letIn(&config)
		config.MaxMsgSize = -1 // the server counts headers, too; a frame that is too long is told of by its writer
	}
	if len(config.Subjects) == 0 {
		config.Subjects = []string{retired(s.name)}
	}
	if s.limits.Memory {
		config.Storage = jetstream.MemoryStorage
	}
	return ensureStream(ctx, b.js, config)
}
