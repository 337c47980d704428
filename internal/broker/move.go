package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Frames are moved one by one: stored in their new stream, then deleted in the old one. A move that is broken off leaves the
// oldest in the new stream and the rest in the old one, and the next one may be to yet another stream, or back. Therefore each
// frame says when it was queued first, and where it was moved from.

// entrance is where the broker publishes what it moves into a stream, which stores it as if it came on its own subject.
func entrance(stream, subject string) string { return "$MOVING." + stream + "." + subject }

// letIn opens a stream's entrance.
func (b *Broker) letIn(config *jetstream.StreamConfig) {
	config.Subjects = append(config.Subjects, entrance(config.Name, b.subjects.Tx("*")))
	config.SubjectTransform = &jetstream.SubjectTransformConfig{Source: entrance(config.Name, b.subjects.Tx("*")), Destination: b.subjects.Tx("{{wildcard(1)}}")}
}

// part is what a stream holds on a subject.
type part struct {
	name   string
	stream jetstream.Stream
	first  *jetstream.RawStreamMsg
	last   *jetstream.RawStreamMsg
}

func since(m *jetstream.RawStreamMsg) time.Time {
	t, _ := ipc.Waits(m.Header, m.Time)
	return t
}

// asides is how many streams there are for what is on its way. One is needed when a stream is made anew; and another when a
// move out of the first was broken off, and the one that follows would put older frames behind newer ones.
const asides = 3

func (b *Broker) aside(n int) string { return b.subjects.QueueOf("~moving" + strings.Repeat("+", n)) }

// gather moves all that waits on a subject into the target, or without one, into an aside.
func (b *Broker) gather(ctx context.Context, existing []*jetstream.StreamInfo, subject, target string) error {
	names := []string{target}
	for i := range asides {
		names = append(names, b.aside(i))
	}
	for _, old := range existing {
		if old.State.Subjects[subject] > 0 && !slices.Contains(names, old.Config.Name) {
			names = append(names, old.Config.Name)
		}
	}
	for {
		parts, err := b.parts(ctx, names, subject)
		if err != nil {
			return err
		}
		// What is gathered must be older than all that comes behind it.
		i := slices.IndexFunc(names[:1+asides], func(sink string) bool { return sink != "" && canTake(parts, sink) })
		if i < 0 {
			return fmt.Errorf("what waits on %s is in too many streams", subject)
		}
		if i > 0 {
			if err := b.createAside(ctx, names[i]); err != nil {
				return err
			}
		}
		if err := b.merge(ctx, subject, parts, names[i]); err != nil || i == 0 || target == "" {
			return err
		}
	}
}

// parts finds what waits on a subject.
func (b *Broker) parts(ctx context.Context, streams []string, subject string) (parts []*part, err error) {
	for _, name := range streams {
		if name == "" {
			continue
		}
		s, err := b.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", name, err)
		}
		p := &part{name: name, stream: s}
		if p.first, err = nextOn(ctx, s, subject, 0); err == nil && p.first != nil {
			p.last, err = s.GetLastMsgForSubject(ctx, subject)
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: read what waits on %s: %w", name, subject, err)
		}
		if p.first != nil {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// nextOn is the first message on a subject from a sequence on, or nil.
func nextOn(ctx context.Context, s jetstream.Stream, subject string, from uint64) (*jetstream.RawStreamMsg, error) {
	m, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return m, err
}

// canTake says whether all that is in a stream was queued before what is in others.
func canTake(parts []*part, sink string) bool {
	i := slices.IndexFunc(parts, func(p *part) bool { return p.name == sink })
	return i < 0 || !slices.ContainsFunc(parts, func(p *part) bool { return p.name != sink && since(p.first).Before(since(parts[i].last)) })
}

func (b *Broker) createAside(ctx context.Context, name string) error {
	config := jetstream.StreamConfig{
		Name: name, Description: "frames that wait to be moved to another stream", Retention: jetstream.WorkQueuePolicy, Duplicates: duplicates, AllowMsgTTL: true,
	}
	b.letIn(&config)
	_, err := ensureStream(ctx, b.js, config)
	return err
}

// merge moves all parts into one stream, the frame that was queued first first.
func (b *Broker) merge(ctx context.Context, subject string, parts []*part, sink string) error {
	var stored []string // what may be a copy already of a frame that was not deleted: it came last
	var sources []*part
	for _, p := range parts {
		stored = append(stored, p.last.Header.Values(ipc.HeaderMoved)...)
	}
	for _, p := range parts {
		if p.name != sink {
			b.takeOutTold(ctx, p, subject)
			sources = append(sources, p)
		}
	}
	for {
		sources = slices.DeleteFunc(sources, func(p *part) bool { return p.first == nil })
		if len(sources) == 0 {
			return nil
		}
		p := slices.MinFunc(sources, func(x, y *part) int { return since(x.first).Compare(since(y.first)) })
		id := ipc.MovedFrom(incarnation(p.stream), p.first.Sequence)
		var err error
		if !slices.Contains(stored, id) {
			err = b.move(ctx, p, subject, sink, id)
		}
		if err == nil {
			err = p.stream.DeleteMsg(ctx, p.first.Sequence)
		}
		if err == nil || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			p.first, err = nextOn(ctx, p.stream, subject, p.first.Sequence+1)
		}
		if err != nil {
			return fmt.Errorf("stream %s: move what waits on %s to stream %s: %w", p.name, subject, sink, err)
		}
	}
}

// move stores the first frame of a part in another stream.
func (b *Broker) move(ctx context.Context, p *part, subject, sink, id string) error {
	m := &nats.Msg{Subject: entrance(sink, subject), Data: p.first.Data, Header: nats.Header{}}
	for name, values := range p.first.Header {
		// The server has acted on its own when the frame was queued.
		if !strings.HasPrefix(strings.ToLower(name), "nats-") {
			m.Header[name] = values
		}
	}
	queued, ttl := ipc.Waits(p.first.Header, p.first.Time)
	m.Header.Set(ipc.HeaderQueued, ipc.FormatTime(queued))
	m.Header.Del(ipc.HeaderQueuedTTL)
	if ttl > 0 {
		m.Header.Set(ipc.HeaderQueuedTTL, ttl.String())
	}
	m.Header.Add(ipc.HeaderMoved, id)
	_, err := b.js.PublishMsg(ctx, m)
	if !errors.Is(err, nats.ErrMaxPayload) {
		return err
	}
	port, _, _ := b.subjects.Split(subject)
	reason := fmt.Sprintf("it has %d bytes, more than max_bytes", len(m.Data))
	b.opts.Log.Warn("a frame was not sent", "port", port, "bytes", len(m.Data), "reason", reason)
	h := ipc.ExpiredHeader(port, ipc.QueueToken(incarnation(p.stream)), p.first.Sequence, reason, time.Now())
	return b.traffic.PublishMsg(&nats.Msg{Subject: b.subjects.Expired(port), Data: ipc.ExpiredData(b.traffic, m.Data), Header: h})
}

// takeOutTold takes frames out of a part that the history has as sent. In another stream it would not know them.
func (b *Broker) takeOutTold(ctx context.Context, p *part, subject string) {
	if b.opts.History.Off {
		return
	}
	port, _, _ := b.subjects.Split(subject)
	told, err := b.toldSince(ctx, ipc.Target{Port: port}, p.stream, p.first)
	for _, seq := range told {
		if e := p.stream.DeleteMsg(ctx, seq); e != nil && !errors.Is(e, jetstream.ErrMsgDeleteUnsuccessful) { // it is out
			err = cmp.Or(err, e)
		}
	}
	if len(told) > 0 && err == nil {
		p.first, err = nextOn(ctx, p.stream, subject, p.first.Sequence)
	}
	if err != nil {
		b.opts.Log.Warn("a frame that was sent may be sent again", "port", port, "error", err)
	}
}

// Moved says where frames of a port are that were moved here from a queue: the sequence of each by the one that it had.
func (b *Broker) Moved(ctx context.Context, port string, from uint64) (map[uint64]uint64, error) {
	t := b.Target(port)
	if t.Stream == "" || from == 0 {
		return nil, nil
	}
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	s, err := b.handle(ctx, t.Stream)
	if err != nil {
		return nil, fmt.Errorf("port %s: its queue: %w", port, err)
	}
	moved := map[uint64]uint64{}
	for seq := uint64(0); ; {
		m, err := nextOn(ctx, s, b.subjects.Tx(port), seq)
		if err != nil {
			return moved, fmt.Errorf("port %s: read its queue: %w", port, err)
		}
		if m == nil || len(m.Header.Values(ipc.HeaderMoved)) == 0 { // those that were moved come first
			return moved, nil
		}
		for _, id := range m.Header.Values(ipc.HeaderMoved) {
			var was uint64
			if _, err := fmt.Sscanf(id, ipc.QueueToken(from)+".%d", &was); err == nil && moved[was] == 0 {
				moved[was] = m.Sequence
			}
		}
		seq = m.Sequence + 1
	}
}
