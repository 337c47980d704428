package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// patience is how long an acknowledgement may take before its message is sent again. It stays well below the time for
// which streams remember message ids, so that the second copy is not stored.
const patience = 2 * time.Second

// Publisher publishes messages in order and keeps them until a stream has stored them. One goroutine calls Publish.
type Publisher struct {
	nc     *nats.Conn
	log    *slog.Logger
	prefix string // of the acknowledgements' subjects: <inbox>.<number>
	stored func(mark uint64)
	sub    *nats.Subscription
	space  chan struct{} // holds a token after the window has shrunk
	work   chan struct{} // holds a token after the window was empty

	mu      sync.Mutex // guards window and failing
	window  window
	failing bool // the last answer was an error, which has been logged
}

// New makes a publisher on a connection. stored, if not nil, is called with the mark of the newest message for which it
// and all before it are stored, by one goroutine at a time and with a lock held: it must only note the number.
func New(nc *nats.Conn, log *slog.Logger, stored func(mark uint64)) (*Publisher, error) {
	if stored == nil {
		stored = func(uint64) {}
	}
	p := &Publisher{
		nc: nc, log: log, stored: stored, prefix: nc.NewRespInbox() + ".",
		space: make(chan struct{}, 1), work: make(chan struct{}, 1),
	}
	sub, err := nc.Subscribe(p.prefix+"*", p.acknowledge)
	if err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	// Every message under way may be answered twice; none of the answers may be dropped.
	if err := sub.SetPendingLimits(4*windowMessages, -1); err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	p.sub = sub
	return p, nil
}

// Publish sends a message, after waiting for room in the window; the message is the publisher's from then on. mark is
// what New's stored will be told. While the connection is down messages wait in the window. Errors are those of ctx and
// those that no further attempt would mend, such as a message beyond the server's limit.
func (p *Publisher) Publish(ctx context.Context, msg *nats.Msg, mark uint64) error {
	s := slot{msg: msg, mark: mark, sent: time.Now(), size: len(msg.Data) + 256}
	p.mu.Lock()
	for p.window.full(s.size) {
		p.mu.Unlock()
		select {
		case <-p.space:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.mu.Lock()
	}
	first := p.window.empty()
	n := p.window.push(s)
	p.mu.Unlock()
	if first {
		notify(p.work)
	}
	msg.Reply = p.prefix + strconv.FormatUint(n, 10)
	err := p.nc.PublishMsg(msg)
	if err != nil && !temporary(err) {
		p.settle(n)
		return fmt.Errorf("publish on %s: %w", msg.Subject, err)
	}
	return nil
}

// temporary says whether an error of PublishMsg passes when the connection is back.
func temporary(err error) bool {
	return errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrConnectionReconnecting) ||
		errors.Is(err, nats.ErrConnectionClosed)
}

// Run sends again what was not acknowledged, until ctx ends. It sleeps while nothing is under way.
func (p *Publisher) Run(ctx context.Context) error {
	tick := time.NewTicker(patience / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.work:
		}
		tick.Reset(patience / 4)
		for p.underWay() {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				p.resend(time.Now().Add(-patience))
			}
		}
		tick.Stop()
	}
}

// Resend sends all that is under way again at once, as after a reconnect.
func (p *Publisher) Resend() { p.resend(time.Now()) }

// Flush waits until everything is stored, or ctx ends.
func (p *Publisher) Flush(ctx context.Context) error {
	for p.underWay() {
		select {
		case <-p.space:
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			return fmt.Errorf("%d messages were not acknowledged: %w", p.window.tail-p.window.head, ctx.Err())
		}
	}
	return nil
}

func (p *Publisher) underWay() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.window.empty()
}

// resend repeats in order what was last sent before a time.
func (p *Publisher) resend(before time.Time) {
	p.mu.Lock()
	var again []*nats.Msg
	for n := p.window.head; n < p.window.tail; n++ {
		if s := p.window.at(n); !s.done && s.sent.Before(before) {
			s.sent = time.Now()
			again = append(again, s.msg)
		}
	}
	p.mu.Unlock()
	for _, msg := range again {
		if err := p.nc.PublishMsg(msg); err != nil {
			return // not connected; the reconnect sends it
		}
	}
}

// acknowledge takes the stream's answer: a PubAck, an error in its place, or the server's word that no stream listens.
func (p *Publisher) acknowledge(m *nats.Msg) {
	n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, p.prefix), 10, 64)
	if err != nil {
		return
	}
	problem := refusal(m)
	if strings.Contains(problem, tooLarge) {
		p.log.Error("a message is too long for its stream and is lost", "error", problem)
		p.settle(n)
		return
	}
	if problem != "" {
		// The message stays in the window and is sent again.
		p.mu.Lock()
		first := !p.failing
		p.failing = true
		p.mu.Unlock()
		if first {
			p.log.Warn("a stream does not store, trying again", "error", problem)
		}
		return
	}
	p.settle(n)
}

// tooLarge marks the refusal that no further attempt would change: JSStreamMessageExceedsMaximum.
const tooLarge = `"err_code":10054`

// refusal is what a stream's answer says against storing the message, or empty. Looking for the key saves decoding
// every answer: a stream's name, the other text in a PubAck, has no quotes.
func refusal(m *nats.Msg) string {
	switch {
	case len(m.Data) == 0:
		return "no stream listens on the subject"
	case bytes.Contains(m.Data, []byte(`"error"`)):
		return string(m.Data)
	}
	return ""
}

func (p *Publisher) settle(n uint64) {
	p.mu.Lock()
	mark, moved := p.window.settle(n)
	recovered := p.failing
	p.failing = false
	if moved {
		p.stored(mark)
	}
	p.mu.Unlock()
	if recovered {
		p.log.Info("the stream stores again")
	}
	if moved {
		notify(p.space)
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
