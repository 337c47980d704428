package broker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// History says how what was received, sent and changed is kept.
type History struct {
	Off        bool // keep nothing
	Memory     bool // keep it until the supervisor ends, else in files
	MaxAge     time.Duration
	MaxBytes   int64
	Sync       time.Duration // how long until files are on the disk for sure
	SyncAlways bool          // before each acknowledgement
}

// Queue says how frames wait for one port.
type Queue struct {
	Port     string
	Off      bool // do not wait: to the writer over plain NATS, or refused
	Limits   Limits
	MaxFrame int // longest frame of the port, in bytes
}

// Limits of a queue. They are a stream's, so that ports with the same limits can share one.
type Limits struct {
	Memory      bool
	MaxMessages int64         // for each port
	MaxAge      time.Duration // 0: for ever
}

// stream is a planned stream of the queue.
type stream struct {
	name     string
	limits   Limits
	maxFrame int
	ports    []string
	room     int64    // for each port, if that is more than the limit: as much waits
	closed   []string // ports that nobody may queue frames for, as older ones are elsewhere
}

// duplicates is how long a stream remembers message ids. Reader and writer repeat a message within seconds or never,
// and each id remembered costs the supervisor some 300 bytes.
const duplicates = 5 * time.Second

// planQueues shares out the ports: those with the most common limits, files before memory, live in one stream; each
// other port has a stream of its own.
func planQueues(subjects ipc.Subjects, queues []Queue) []stream {
	type kind struct {
		Limits
		maxFrame int
	}
	count := map[kind]int{}
	var common kind
	for _, q := range queues {
		k := kind{q.Limits, q.MaxFrame}
		if q.Off {
			continue
		}
		count[k]++
		if n, m := count[k], count[common]; m == 0 || k.Memory == common.Memory && n > m || !k.Memory && common.Memory {
			common = k
		}
	}
	var plan []stream
	shared := stream{name: subjects.Queue(), limits: common.Limits, maxFrame: common.maxFrame}
	for _, q := range queues {
		switch {
		case q.Off:
		case kind{q.Limits, q.MaxFrame} == common:
			shared.ports = append(shared.ports, q.Port)
		default:
			plan = append(plan, stream{name: subjects.QueueOf(q.Port), limits: q.Limits, maxFrame: q.MaxFrame, ports: []string{q.Port}})
		}
	}
	if len(shared.ports) > 0 {
		plan = append([]stream{shared}, plan...)
	}
	return plan
}

// storeLimit is what the server may store in all: the history, which is reserved, and ample room for queues.
func (b *Broker) storeLimit() int64 { return max(b.history.Load().MaxBytes, 0) + 64<<30 }

func (b *Broker) createStreams(ctx context.Context) error {
	created, err := b.createHistory(ctx)
	if err != nil {
		return err
	}
	moved, err := b.createQueues(ctx)
	if err == nil {
		err = b.createConsumers(ctx)
	}
	if err != nil {
		return err
	}
	if created || moved {
		return b.persist()
	}
	return nil
}

// persist brings a new stream's description to the disk, which the server leaves to the kernel (nats-server#3753): a
// power loss soon afterwards would take the stream with it.
func (b *Broker) persist() error {
	dir, err := os.Open(b.opts.StateDir)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("broker: write %s to the disk: %w", b.opts.StateDir, err)
	}
	return nil
}

// historyStream is the way to the history, with how much it holds. It must be called with asked held.
func (b *Broker) historyStream(ctx context.Context) (jetstream.Stream, error) {
	js, err := jetstream.New(b.traffic)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	s, err := js.Stream(ctx, b.subjects.History())
	if err != nil {
		return nil, fmt.Errorf("the history: %w", err)
	}
	return s, nil
}

func (b *Broker) createHistory(ctx context.Context) (created bool, err error) {
	js, err := jetstream.New(b.traffic)
	if err != nil {
		return false, fmt.Errorf("broker: %w", err)
	}
	name := b.subjects.History()
	if b.opts.History.Off {
		return false, retire(ctx, js, name)
	}
	config := jetstream.StreamConfig{
		Name: name, Description: "what the ports received, sent and went through",
		Subjects: b.subjects.Watched(), Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxAge: b.history.Load().MaxAge, MaxBytes: b.history.Load().MaxBytes,
		Duplicates: within(duplicates, b.history.Load().MaxAge), AllowDirect: true,
	}
	// What is published again is stored as if it came on its first subject.
	again := b.subjects.Again(b.opts.Root + ".*.*")
	config.Subjects = append(config.Subjects, again)
	config.SubjectTransform = &jetstream.SubjectTransformConfig{Source: again, Destination: b.opts.Root + ".{{wildcard(1)}}.{{wildcard(2)}}"}
	if b.opts.History.Memory {
		config.Storage = jetstream.MemoryStorage
	}
	return ensureStream(ctx, js, config)
}

// retire keeps a stream and what it holds, and lets it record no more.
func retire(ctx context.Context, js jetstream.JetStream, name string) error {
	old, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	config := old.CachedInfo().Config
	config.Subjects, config.SubjectTransform = []string{retired(name)}, nil
	if _, err := js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	return nil
}

// retired is a subject for a stream that shall store nothing: a stream must have one, and nobody may publish there.
func retired(stream string) string { return "$RETIRED." + stream }

// within keeps a duplicate window below a stream's age limit, which the server insists on.
func within(window, age time.Duration) time.Duration {
	if age > 0 && age < window {
		return age
	}
	return window
}

// ensureStream creates or updates a stream. One whose storage has changed cannot be updated: it is made anew. It must be
// empty, see changeStorage and settleHistory.
func ensureStream(ctx context.Context, js jetstream.JetStream, config jetstream.StreamConfig) (created bool, err error) {
	old, err := js.Stream(ctx, config.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		created = true
	case err != nil:
		return false, fmt.Errorf("stream %s: %w", config.Name, err)
	case old.CachedInfo().Config.Storage != config.Storage:
		if n := old.CachedInfo().State.Msgs; n > 0 {
			return false, fmt.Errorf("stream %s holds %d messages in storage %s still, and the config says %s", config.Name, n, old.CachedInfo().Config.Storage, config.Storage)
		}
		if err := js.DeleteStream(ctx, config.Name); err != nil {
			return false, fmt.Errorf("stream %s: change its storage: %w", config.Name, err)
		}
		created = true
	}
	if _, err := js.CreateOrUpdateStream(ctx, config); err != nil {
		return false, fmt.Errorf("stream %s: %w", config.Name, err)
	}
	return created, nil
}

// Target is the way to a port's device, for its writer and for readers that forward to it.
func (b *Broker) Target(port string) ipc.Target {
	for _, s := range b.planned() {
		if slices.Contains(s.ports, port) {
			return ipc.Target{Port: port, Stream: s.name, Consumer: port, MaxMessages: s.limits.MaxMessages, MaxAge: s.limits.MaxAge, MaxBytes: s.maxFrame}
		}
	}
	for _, q := range *b.queues.Load() {
		if q.Port == port {
			return ipc.Target{Port: port, MaxBytes: q.MaxFrame}
		}
	}
	return ipc.Target{Port: port}
}

// RewindQueue makes what a port's writer has not acknowledged the next to be delivered, at once and in order, and
// nothing else before it. Only while no writer of the port runs. It returns a number that names the queue: another one that
// came to be in its place, where sequences begin anew, has another number. Without a queue it is 0.
func (b *Broker) RewindQueue(ctx context.Context, port string) (queue uint64, err error) {
	t := b.Target(port)
	if t.Stream == "" {
		return 0, nil
	}
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	s, err := b.handle(ctx, t.Stream)
	if err != nil {
		return 0, fmt.Errorf("port %s: its queue: %w", port, err)
	}
	if b.wasUnused(port) {
		return incarnation(s), nil
	}
	switch old, err := s.Consumer(ctx, t.Consumer); {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
	case err != nil:
		return 0, fmt.Errorf("port %s: consumer of its queue: %w", port, err)
	default:
		if err := b.forgetWritten(ctx, s, t, old.CachedInfo()); err != nil {
			return 0, err
		}
		if err := s.DeleteConsumer(ctx, t.Consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return 0, fmt.Errorf("port %s: rewind its queue: %w", port, err)
		}
	}
	return incarnation(s), b.createConsumer(ctx, t)
}

// incarnation names a stream of the queue as it is now: one that is made anew counts its sequences from the start.
func incarnation(s jetstream.Stream) uint64 {
	info := s.CachedInfo()
	name := fnv.New64a()
	fmt.Fprintf(name, "%s %d", info.Config.Name, info.Created.UnixNano())
	return name.Sum64() | 1
}

// createConsumers makes the consumers that are not there yet: whoever forwards to a port asks them how full its queue is, writer or
// not. It must be called with asked held, or before there is anybody.
func (b *Broker) createConsumers(ctx context.Context) error {
	for _, planned := range b.planned() {
		s, err := b.handle(ctx, planned.name)
		if err != nil {
			return err
		}
		there := map[string]bool{}
		names := s.ConsumerNames(ctx)
		for name := range names.Name() {
			there[name] = true
		}
		if err := names.Err(); err != nil {
			return fmt.Errorf("stream %s: list its consumers: %w", planned.name, err)
		}
		for _, port := range planned.ports {
			if there[port] {
				continue
			}
			if err := b.createConsumer(ctx, b.Target(port)); err != nil {
				return err
			}
			b.mu.Lock()
			b.unused[port] = true
			b.mu.Unlock()
		}
	}
	return nil
}

// wasUnused says whether a port's consumer was made by this broker and no writer was let near it, and forgets that.
func (b *Broker) wasUnused(port string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	unused := b.unused[port]
	delete(b.unused, port)
	return unused
}

// createConsumer makes the only consumer of a port's queue. Nothing is delivered twice while a writer lives, however
// long a slow device takes: a new writer gets a new consumer. The writer may hold all of the queue back while a client has a
// lease, whose frames must pass.
func (b *Broker) createConsumer(ctx context.Context, t ipc.Target) error {
	most := max(1024, t.MaxMessages)
	if s := b.plannedAs(t.Stream); s != nil {
		most = max(most, s.room)
	}
	_, err := b.js.CreateOrUpdateConsumer(ctx, t.Stream, jetstream.ConsumerConfig{
		Durable: t.Consumer, FilterSubject: b.subjects.Tx(t.Port), AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: 10000 * time.Hour, MaxAckPending: int(most),
	})
	if err != nil {
		return fmt.Errorf("port %s: consumer of its queue: %w", t.Port, err)
	}
	return nil
}

// HistoryStream is the name of the stream with the history, or empty if none is kept.
func (b *Broker) HistoryStream() string {
	if b.opts.History.Off {
		return ""
	}
	return b.subjects.History()
}

// Queued counts the frames that wait for a port, those in its writer's hands included.
func (b *Broker) Queued(ctx context.Context, port string) (uint64, error) {
	t := b.Target(port)
	if t.Stream == "" {
		return 0, nil
	}
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	s, err := b.handle(ctx, t.Stream)
	if err != nil {
		return 0, err
	}
	subject := b.subjects.Tx(port)
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, fmt.Errorf("port %s: length of its queue: %w", port, err)
	}
	return info.State.Subjects[subject], nil
}

// PublishState puts a port's state on the bus and into the history.
func (b *Broker) PublishState(port string, payload []byte, when time.Time) error {
	m := nats.NewMsg(b.subjects.State(port))
	m.Data = payload
	m.Header.Set(ipc.HeaderTime, ipc.FormatTime(when))
	return b.traffic.PublishMsg(m)
}
