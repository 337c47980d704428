package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Loss counts what this run had stored of a port in a history that was deleted.
type Loss struct{ Received, Sent int }

// contents is what a history holds.
type contents struct {
	first, last uint64
	of          map[string]uint64 // by subject
}

// lookIntoHistory says what the history holds. It must be called with asked held.
func (b *Broker) lookIntoHistory(ctx context.Context) (c contents, err error) {
	if b.opts.History.Off {
		return c, nil
	}
	s, err := b.historyStream(ctx)
	if err != nil {
		return c, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return c, fmt.Errorf("the history: %w", err)
	}
	// Subjects are counted after the rest, and more may have come meanwhile.
	total := uint64(0)
	for _, n := range info.State.Subjects {
		total += n
	}
	last := info.State.LastSeq
	if total > 0 {
		last = max(last, info.State.FirstSeq+total-1)
	}
	return contents{info.State.FirstSeq, last, info.State.Subjects}, nil
}

// since is how much there is on a subject that was not there before. What a history drops is the oldest: where it has
// dropped a part of what was there before, that is taken for an even mixture.
func (c contents) since(before contents, subject string) int {
	old := before.of[subject]
	switch {
	case c.first > before.last:
		old = 0
	case c.first > before.first:
		old = uint64(float64(old) * float64(before.last+1-c.first) / float64(before.last+1-before.first))
	}
	return int(c.of[subject]) - int(min(old, c.of[subject]))
}

// tally counts what is lost with a history that was deleted. It acknowledges until it is shut down, so after it was looked
// into acknowledgements count.
type tally struct {
	b      *Broker
	at     contents
	reader map[string]*nats.Subscription // to acknowledgements, by port
	writer map[string]*nats.Subscription
}

// tallyLimit is how long a history that was deleted may take to say what it had.
const tallyLimit = time.Second

// beginTally looks into a history that is about to be shut down.
func (b *Broker) beginTally(ctx context.Context) (*tally, error) {
	ctx, cancel := context.WithTimeout(ctx, tallyLimit)
	defer cancel()
	t := &tally{b: b, reader: map[string]*nats.Subscription{}, writer: map[string]*nats.Subscription{}}
	listen := func(user string) (*nats.Subscription, error) {
		sub, err := b.traffic.SubscribeSync(Grant{Name: user}.inbox() + ".>")
		if err == nil {
			err = sub.SetPendingLimits(-1, -1)
		}
		return sub, err
	}
	for _, q := range *b.queues.Load() {
		var err, err2 error
		t.reader[q.Port], err = listen(q.Port + "/reader")
		t.writer[q.Port], err2 = listen(q.Port + "/writer" + secondUser)
		if err = errors.Join(err, err2); err != nil {
			t.close()
			return nil, err
		}
	}
	if err := b.traffic.FlushTimeout(flushLimit); err != nil {
		t.close()
		return nil, err
	}
	var err error
	if t.at, err = b.lookIntoHistory(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tally) close() {
	for port, sub := range t.reader {
		_, _ = sub.Unsubscribe(), t.writer[port].Unsubscribe() // of a nil one it is an error
	}
}

// result is what is lost, by port, when the history is shut down.
func (t *tally) result() map[string]Loss {
	t.awaitLast()
	lost := map[string]Loss{}
	for port, sub := range t.reader {
		s := t.b.subjects
		l := Loss{
			Received: t.at.since(t.b.before, s.Rx(port)) + t.acknowledged(sub),
			Sent:     t.at.since(t.b.before, s.Sent(port)) + t.at.since(t.b.before, s.Expired(port)) + t.acknowledged(t.writer[port]),
		}
		if l != (Loss{}) {
			lost[port] = l
		}
	}
	return lost
}

const (
	// lastWords is for how long nothing may have come from a history that is shut down before it counts as done. It ends what
	// it has begun beside the shutdown, and acknowledges that.
	lastWords = 250 * time.Millisecond
	// lastLimit is how long that may take.
	lastLimit = 2 * time.Second
)

// awaitLast waits until no acknowledgement comes any more.
func (t *tally) awaitLast() {
	for begun, before := time.Now(), -1; time.Since(begun) < lastLimit; {
		_ = t.b.traffic.FlushTimeout(flushLimit) // within the process
		n := 0
		for port, sub := range t.reader {
			received, _, _ := sub.Pending()
			sent, _, _ := t.writer[port].Pending()
			n += received + sent
		}
		if n == before {
			return
		}
		before = n
		time.Sleep(lastWords)
	}
}

// acknowledged counts what was stored after the history was looked into.
func (t *tally) acknowledged(sub *nats.Subscription) (n int) {
	for pending, _, _ := sub.Pending(); pending > 0; pending-- {
		m, err := sub.NextMsg(flushLimit)
		if err != nil {
			return n
		}
		var ack jetstream.PubAck
		if json.Unmarshal(m.Data, &ack) == nil && ack.Stream == t.b.subjects.History() && ack.Sequence > t.at.last && !ack.Duplicate {
			n++
		}
	}
	return n
}
