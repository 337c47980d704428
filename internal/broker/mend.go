package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// flushLimit is how long the server, which runs in the same process, may take over a round trip.
const flushLimit = 2 * time.Second

// mend starts JetStream again within the running server. Streams and consumers on files come back as the disk has them;
// those in memory, and those whose files are gone, come back empty. Of a history that is gone it says what is lost.
func (b *Broker) mend(ctx context.Context, gone []streamOn) (missing map[string]Loss, err error) {
	gone = b.emptied(gone)
	b.warnGone(ctx, gone)
	lost := b.waitingNowhere(ctx, gone)
	b.store.asked.Lock()
	defer b.store.asked.Unlock()
	if err := b.settleRequests(); err != nil {
		return nil, err
	}
	var t *tally
	if slices.Contains(gone, streamOn{Traffic, b.subjects.History()}) && b.server.JetStreamEnabled() {
		if t, err = b.beginTally(ctx); err != nil {
			b.opts.Log.Warn("what is lost with the history is not counted", "error", err)
		} else {
			defer t.close()
		}
	}
	acks, err := b.catchAcks()
	if err != nil {
		return nil, err
	}
	defer func() { _ = acks.Unsubscribe() }()
	if err := b.settleAcks(); err != nil {
		b.opts.Log.Debug("acknowledgements may be lost while the store is started again", "error", err)
	}
	b.log.quiet.Store(true) // it tells of every repair
	defer b.log.quiet.Store(false)
	if err := b.server.ShutdownJetStream(); err != nil {
		return nil, err
	}
	if t != nil {
		missing, b.before = t.result(), contents{}
	}
	if err := errors.Join(b.clear(gone), b.enable()); err != nil {
		return missing, err
	}
	for port, n := range lost {
		b.opts.Log.Warn("frames that waited, and not on the disk, are lost, as the store had to be started again", "port", port, "frames", n)
	}
	b.forgetHandles()
	return missing, errors.Join(b.passOnAcks(acks, gone), b.restore(ctx))
}

// enable starts JetStream as it was started first. From then on the server takes each request to JetStream's API once more
// than before, because it does not take its old subscription back (nats-server 2.15.2). With one goroutine to serve them,
// the copies come right behind each other, where they do no harm; several could delete a consumer for the second time that
// was made anew meanwhile. There are as many as processors.
func (b *Broker) enable() error {
	o, err := b.serverOptions()
	if err != nil {
		return err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	return b.server.EnableJetStream(&server.JetStreamConfig{
		StoreDir: o.StoreDir, SyncInterval: o.SyncInterval, SyncAlways: o.SyncAlways, MaxMemory: o.JetStreamMaxMemory, MaxStore: o.JetStreamMaxStore,
		Domain: o.JetStreamDomain, Strict: !o.NoJetStreamStrict,
	})
}

// settleRequests waits until JetStream has served the requests that it has, in both of its queues: for such as only want
// to know, and for others.
func (b *Broker) settleRequests() error {
	for _, subject := range []string{"$JS.API.INFO", "$JS.API.STREAM.MSG.GET." + b.subjects.History()} {
		_, err := b.control.Request(subject, nil, flushLimit)
		if err != nil && b.server.JetStreamEnabled() {
			return fmt.Errorf("JetStream does not answer: %w", err)
		}
	}
	return nil
}

// catchAcks begins to collect acknowledgements. Nobody else takes them while JetStream is away, and a frame whose
// acknowledgement is lost would come again.
func (b *Broker) catchAcks() (*nats.Subscription, error) {
	acks, err := b.control.SubscribeSync("$JS.ACK.>")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(acks.SetPendingLimits(-1, -1), b.control.FlushTimeout(flushLimit)); err != nil {
		return nil, errors.Join(err, acks.Unsubscribe())
	}
	return acks, nil
}

// settleAcks waits until the consumers of all queues have seen to the acknowledgements that came before catchAcks: they queue them, and
// forget them when they are shut down. A word of progress about a frame that there never is has no effect, and is answered in its turn.
func (b *Broker) settleAcks() error {
	answers, err := b.control.SubscribeSync(b.control.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = answers.Unsubscribe() }()
	waiting := 0
	for _, s := range b.planned() {
		for _, port := range s.ports {
			of := b.Target(port)
			never := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.1.0.0", of.Stream, of.Consumer, math.MaxInt64)
			if err := b.control.PublishRequest(never, answers.Subject, []byte("+WPI")); err != nil {
				return err
			}
			waiting++
		}
	}
	for deadline := time.Now().Add(flushLimit); waiting > 0; waiting-- {
		if _, err := answers.NextMsg(time.Until(deadline)); err != nil {
			return fmt.Errorf("%d queues do not answer: %w", waiting, err)
		}
	}
	return nil
}

// passOnAcks gives the acknowledgements that have come to the consumers. They may have some twice, which does not matter. Those
// for a queue that is gone mean nothing to the one in its place.
func (b *Broker) passOnAcks(acks *nats.Subscription, gone []streamOn) error {
	if err := b.control.FlushTimeout(flushLimit); err != nil {
		return err
	}
	n, _, err := acks.Pending()
	for ; err == nil && n > 0; n-- { // no more than those: the ones passed on come by here too
		var m *nats.Msg
		m, err = acks.NextMsg(flushLimit)
		if err == nil && !slices.ContainsFunc(gone, func(s streamOn) bool { return strings.Contains(m.Subject, "."+s.name+".") }) {
			err = b.control.Publish(m.Subject, m.Data)
		}
	}
	return err
}

// restore creates what does not come back by itself: streams in memory, and what the disk had no room for.
func (b *Broker) restore(ctx context.Context) error {
	if _, err := b.createHistory(ctx); err != nil {
		return err
	}
	for _, s := range b.planned() {
		if _, err := b.createQueue(ctx, s, false); err != nil {
			return err
		}
		for _, port := range s.ports {
			if err := b.createConsumer(ctx, b.Target(port)); err != nil {
				return err
			}
		}
	}
	return b.learnOwners(ctx)
}

// waitingNowhere counts the frames in queues in memory, and in those whose files are gone, by port.
func (b *Broker) waitingNowhere(ctx context.Context, gone []streamOn) map[string]uint64 {
	waiting := map[string]uint64{}
	for _, s := range b.planned() {
		if !s.limits.Memory && !slices.Contains(gone, streamOn{Control, s.name}) {
			continue
		}
		for _, port := range s.ports {
			if n, err := b.Queued(ctx, port); err == nil && n > 0 {
				waiting[port] = n
			}
		}
	}
	return waiting
}

// forgetWritten takes from a queue the frames that its writer has acknowledged and that are there still: while the store
// could not be written they could not be removed. A new consumer would begin with them.
func (b *Broker) forgetWritten(ctx context.Context, queue jetstream.Stream, t ipc.Target, info *jetstream.ConsumerInfo) error {
	subject := b.subjects.Tx(t.Port)
	first, err := nextOn(ctx, queue, subject, 0)
	if err != nil {
		return fmt.Errorf("port %s: the first frame of its queue: %w", t.Port, err)
	}
	if first == nil || first.Sequence > info.AckFloor.Stream {
		return nil
	}
	state, err := queue.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return fmt.Errorf("port %s: its queue: %w", t.Port, err)
	}
	if state.State.Subjects[subject] <= info.NumPending+uint64(info.NumAckPending) {
		return nil
	}
	if err := queue.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(info.AckFloor.Stream+1)); err != nil {
		return fmt.Errorf("port %s: take what was written from its queue: %w", t.Port, err)
	}
	return nil
}
