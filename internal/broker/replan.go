package broker

import (
	"context"
	"slices"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// planned are the streams of the queue.
func (b *Broker) planned() []stream { return *b.plan.Load() }

func (b *Broker) setPlan(queues []Queue, plan []stream) {
	b.queues.Store(&queues)
	b.plan.Store(&plan)
}

// SetQueues changes the queues to those of other ports, or with other limits. Those that stay as they are are not touched; of
// the others no writer may run, and nobody forwards to them. What waits moves along, as at the start.
func (b *Broker) SetQueues(ctx context.Context, queues []Queue) error {
	before := *b.queues.Load()
	plan := replan(b.subjects, b.planned(), before, queues)
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	b.setPlan(queues, plan)
	changed, err := b.createQueues(ctx)
	if err == nil {
		err = b.createConsumers(ctx)
	}
	if err != nil || !changed {
		return err
	}
	return b.persist()
}

// replan shares out ports to streams so that those which stay as they are stay where they are: a port that is new, or has other
// limits, joins the common stream if that fits, or has one of its own.
func replan(subjects ipc.Subjects, plan []stream, before, queues []Queue) (next []stream) {
	common := stream{name: subjects.Queue()}
	for _, s := range plan {
		if s.name == common.name {
			common.limits, common.maxFrame = s.limits, s.maxFrame
		}
	}
	inCommon := func(q Queue) bool {
		return slices.ContainsFunc(plan, func(s stream) bool { return s.name == common.name && slices.Contains(s.ports, q.Port) })
	}
	var own []stream
	for _, q := range queues {
		same := slices.Contains(before, q)
		switch {
		case q.Off:
		case same && inCommon(q), !same && common.maxFrame > 0 && q.Limits == common.limits && q.MaxFrame == common.maxFrame:
			common.ports = append(common.ports, q.Port)
		default:
			own = append(own, stream{name: subjects.QueueOf(q.Port), limits: q.Limits, maxFrame: q.MaxFrame, ports: []string{q.Port}})
		}
	}
	if len(common.ports) > 0 {
		next = append(next, common)
	}
	return append(next, own...)
}

// LimitHistory changes how much the history keeps.
func (b *Broker) LimitHistory(ctx context.Context, age time.Duration, bytes int64) error {
	h := *b.history.Load()
	if h.Off || h.MaxAge == age && h.MaxBytes == bytes {
		return nil
	}
	h.MaxAge, h.MaxBytes = age, bytes
	b.history.Store(&h)
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	_, err := b.createHistory(ctx)
	return err
}
