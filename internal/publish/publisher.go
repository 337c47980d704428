package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// patience is how long a stream may be silent before it is asked how things are.
const patience = 2 * time.Second

// haste is how long a message is left alone that was sent, and is known to be lost: the order in which sendings are
// numbered and in which they leave can differ for a moment.
const haste = 100 * time.Millisecond

// LongestWait is how long live traffic may wait for the history, see GiveUpAfter.
const LongestWait = 2 * time.Second

// Publisher publishes messages to one stream, in order, and keeps them until it has stored them. One goroutine calls
// Publish, Relieve and Flush.
type Publisher struct {
	nc       *nats.Conn
	log      *slog.Logger
	prefix   string // of the acknowledgements' subjects, see reply
	stored   func(mark uint64)
	stall    time.Duration // how long Publish may wait for a full window to move; 0: for ever
	lost     func(delta int)
	stores   func() bool                 // whether the stream is known to store
	repeatOn func(subject string) string // nil: as at first
	waits    func()                      // called before Publish waits
	patience time.Duration
	patient  time.Duration
	sub      *nats.Subscription
	space    chan struct{} // holds a token after the window has shrunk
	work     chan struct{} // holds a token after the window was empty
	again    chan struct{} // holds a token when an answer shows that messages were lost

	mu         sync.Mutex // guards all below
	window     window
	sendings   uint64    // how often anything was sent
	sent       time.Time // when last
	heard      time.Time // when the stream last acknowledged anything
	answered   uint64    // the latest sending that was acknowledged
	passed     uint64    // the latest question that was answered
	failing    bool      // an answer was an error, which was logged, and nothing was stored since
	complained time.Time // when that was
	missing    missing   // messages that were given up

	asks    bool      // the oldest message is to be sent again, to see how things are
	stalled bool      // messages are given up for others to go on
	known   bool      // the stream was known to store when that was last of interest
	alive   time.Time // when the stream last stored a message in time
	warned  time.Time // when a stall was last logged
	told    bool      // this stall was
}

// Option changes what a publisher does.
type Option func(*Publisher)

// GiveUpAfter bounds how long Publish waits: when the window is full and the oldest message in it has waited for so long,
// the oldest are given up, one for each that comes, until the stream stores in time again. Messages are still sent, so
// whoever listens has them, and the stream may store even those that were given up. lost is told of each that was given
// up by 1, and by -1 if it was stored after all: the sum is how many the stream lacks. It is called like stored.
func GiveUpAfter(stall time.Duration, lost func(delta int)) Option {
	return func(p *Publisher) { p.stall, p.lost = stall, lost }
}

// WaitWhile names who knows whether the stream stores at all. One that does is waited for longer than GiveUpAfter says, as it
// has only much to do: for up to 10 s. When it stores again after a stall it is waited for at once. stores is called with a
// lock held.
func WaitWhile(stores func() bool) Option {
	return func(p *Publisher) { p.stores = stores }
}

// RepeatOn names the subject for what is sent again because the stream has lost it, and for questions to the stream: one that the
// stream stores like the first, and that nobody listens to who had the message already.
func RepeatOn(subject func(first string) string) Option {
	return func(p *Publisher) { p.repeatOn = subject }
}

// BeforeWaiting names what is called before Publish waits for a full window to move, without a lock: a caller who collects what is
// published, to send it in one go, must let go of it then, and of questions to the stream with it.
func BeforeWaiting(do func()) Option {
	return func(p *Publisher) { p.waits = do }
}

// Window bounds how many messages may be under way, below the usual limit: for a caller that must not be far ahead of what
// is stored.
func Window(messages int) Option {
	return func(p *Publisher) { p.window.limit = uint64(messages) }
}

// New makes a publisher on a connection. stored, if not nil, is called with the mark of the newest message for which it
// and all before it are stored or given up, by one goroutine at a time and with a lock held: it must only note the number.
func New(nc *nats.Conn, log *slog.Logger, stored func(mark uint64), options ...Option) (*Publisher, error) {
	if stored == nil {
		stored = func(uint64) {}
	}
	p := &Publisher{
		nc: nc, log: log, stored: stored, stores: func() bool { return false }, waits: func() {}, prefix: nc.NewRespInbox() + ".", patience: patience, patient: patient,
		space: make(chan struct{}, 1), work: make(chan struct{}, 1), again: make(chan struct{}, 1),
	}
	p.window.limit = windowMessages
	for _, o := range options {
		o(p)
	}
	sub, err := nc.Subscribe(p.prefix+"*", p.acknowledge)
	if err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	// The stream may answer for its whole queue at once, and none of the answers may be dropped.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	p.sub = sub
	return p, nil
}

// Publish sends a message, after waiting for room in the window, see GiveUpAfter; the message is the publisher's from
// then on. mark is what New's stored will be told. While the connection is down messages wait in the window. Errors are
// those of ctx and those that no further attempt would mend, such as a message beyond the server's limit.
func (p *Publisher) Publish(ctx context.Context, msg *nats.Msg, mark uint64) error {
	size := len(msg.Data) + 256
	p.mu.Lock()
	if err := p.makeRoom(ctx, size); err != nil {
		p.mu.Unlock()
		return err
	}
	first := p.window.empty()
	now := time.Now()
	p.sendings++
	p.sent = now
	n := p.window.push(slot{kept: keep(msg), mark: mark, size: size, came: now, sent: now, first: p.sendings, last: p.sendings})
	p.mu.Unlock()
	if first {
		notify(p.work)
	}
	msg.Reply = p.reply(n, 0)
	err := p.nc.PublishMsg(msg)
	if err != nil && !temporary(err) {
		p.refuse(n, false)
		return fmt.Errorf("publish on %s: %w", msg.Subject, err)
	}
	return nil
}

// makeRoom waits until a message of a size fits in the window, or makes it fit. It is called with mu held, and returns so.
func (p *Publisher) makeRoom(ctx context.Context, size int) error {
	for p.window.full(size) {
		var late <-chan time.Time // nil: never
		if p.stall > 0 {
			wait := p.mayWait()
			if wait <= 0 {
				p.giveUp()
				continue
			}
			late = time.After(wait)
		}
		p.mu.Unlock()
		p.waits()
		select {
		case <-p.space:
		case <-late:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// temporary says whether an error of PublishMsg passes when the connection is back.
func temporary(err error) bool {
	return errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrConnectionReconnecting) ||
		errors.Is(err, nats.ErrConnectionClosed)
}

// Run sends again what was lost, until ctx ends. It sleeps while nothing is under way.
func (p *Publisher) Run(ctx context.Context) error {
	tick := time.NewTicker(p.patience / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.work:
		}
		tick.Reset(p.patience / 4)
		for p.underWay() {
			select {
			case <-ctx.Done():
				return nil
			case <-p.again:
				p.repeat()
			case <-tick.C:
				p.repeat()
			}
		}
		tick.Stop()
	}
}

// Flush waits until everything is stored, or ctx ends. What is not stored then is still under way.
func (p *Publisher) Flush(ctx context.Context) error {
	if p.stall > 0 {
		p.ask() // a stream that has long been silent may be back
	}
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

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
