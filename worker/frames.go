package worker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// backlogBytes and backlogFrames limit what waits for a loop over live frames.
	backlogBytes  = 16 << 20
	backlogFrames = 16384
	// overhead is about what a waiting frame takes beside its payload.
	overhead = 512
	// intake is how many messages the connection can hand over while the goroutine that takes them does not run.
	intake = 4096
)

// Frames listens to ports, or to all that the worker is for if none are named. It listens when it returns, so that what is
// sent afterwards and answered is not missed; the frames are then to be ranged over, once:
//
//	for f, err := range w.Frames(ctx, "gps") {
//		if errors.Is(err, worker.ErrMissed) {
//			log.Print(err) // how many, and why
//			continue
//		}
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// The loop ends without an error when ctx ends; frames that wait by then are dropped. An error comes with an empty Frame. After
// ErrMissed the loop goes on, after any other (such as ErrUnknownPort, ErrNotAllowed) it ends.
//
// Frames come in the order in which they were received, each once. Up to 16 MiB of them, or 16,384, wait for a loop that is slow. What
// comes beyond that is dropped, and the loop is told how many there were, in their place. A broken connection misses an unknown
// number, which it is told as well. Where nothing may be missed use FramesSince.
func (w *Worker) Frames(ctx context.Context, ports ...string) iter.Seq2[Frame, error] {
	f, ctx := w.newFeed(ctx, w.rxSubjects(ports))
	live := &live{feed: f, messages: make(chan *nats.Msg, intake), reconnects: make(chan struct{}, 1)}
	f.run(func() error { return live.begin(ctx, ports) }, func() { live.pass(ctx) })
	return f.iterate(ctx)
}

// rxSubjects lists the subjects of ports.
func (w *Worker) rxSubjects(ports []string) []string {
	if len(ports) == 0 {
		ports = w.ports
	}
	if len(ports) == 0 {
		ports = []string{"*"}
	}
	var list []string
	for _, port := range ports {
		if subject := w.subjects.Rx(port); !slices.Contains(list, subject) {
			list = append(list, subject)
		}
	}
	return list
}

// checkPorts refuses ports that the gateway does not have, if it says which it has.
func (w *Worker) checkPorts(ctx context.Context, ports []string) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	s, err := w.status(ctx)
	if err != nil {
		return nil
	}
	for _, port := range ports {
		if _, err := portOf(s, port); err != nil {
			return err
		}
	}
	return nil
}

// feed is the way of frames from a goroutine that gets them to a loop.
type feed struct {
	w        *Worker
	asked    context.Context // the caller's
	subjects []string
	out      chan item
	once     repeats // the loop's
	stop     func()
}

// item is a frame as it came, or an error in its place.
type item struct {
	subject string
	header  nats.Header
	data    []byte
	err     error
}

// size is about what it takes in memory.
func (i item) size() int { return len(i.data) + overhead }

// newFeed makes a feed, and the context that it lives in. It ends with the cause if the broker forbids the subjects.
func (w *Worker) newFeed(ctx context.Context, subjects []string) (*feed, context.Context) {
	own, stop := w.waiting(ctx, false, func(subject string) bool { return slices.Contains(subjects, subject) })
	return &feed{w: w, asked: ctx, subjects: subjects, out: make(chan item), stop: stop}, own
}

// run begins, and then feeds in a goroutine. That it cannot begin is an item.
func (f *feed) run(begin func() error, pass func()) {
	if err := begin(); err != nil {
		f.out = make(chan item, 1)
		f.out <- item{err: err}
		return
	}
	f.w.inFlight.Go(pass)
}

// iterate is the loop's side.
func (f *feed) iterate(ctx context.Context) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		defer f.stop()
		dog := &f.w.dog
		own := new(loop)
		defer dog.leave(own)
		for {
			dog.set(own, time.Time{})
			i, ok := f.next(ctx)
			if !ok {
				return
			}
			var frame Frame
			if i.err == nil {
				if frame = frameOf(f.w.subjects, i); f.once.seen(frame.ID) {
					continue
				}
			}
			dog.set(own, time.Now())
			if !yield(frame, i.err) || i.err != nil && !errors.Is(i.err, ErrMissed) {
				return
			}
		}
	}
}

// next waits for an item, and says meanwhile that the loop is alive.
func (f *feed) next(ctx context.Context) (i item, ok bool) {
	_ = f.w.Alive() // the supervisor notices
	var tick <-chan time.Time
	if every := f.w.dog.every(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	for {
		if f.asked.Err() != nil || ctx.Err() != nil && len(f.out) == 0 { // a channel with room holds why it could not begin
			return f.end(ctx)
		}
		select {
		case i := <-f.out:
			return i, true
		case <-ctx.Done():
			return f.end(ctx)
		case <-tick:
			_ = f.w.Alive()
		}
	}
}

// end is the last item, if there is an error to tell.
func (f *feed) end(ctx context.Context) (i item, ok bool) {
	switch cause := context.Cause(ctx); {
	case f.asked.Err() != nil:
		return item{}, false
	case errors.Is(cause, context.Canceled):
		return item{err: errors.New("worker: these frames were ranged over before")}, true
	default:
		return item{err: cause}, true
	}
}

// live feeds from subscriptions.
type live struct {
	*feed
	messages   chan *nats.Msg // of all subscriptions, in the order in which the broker sent
	reconnects chan struct{}
	subs       []*nats.Subscription
	forget     func() // reconnects

	waiting []item // oldest first
	bytes   int    // of waiting
	missed  int    // frames behind the last that waits
	cut     bool   // and the connection was broken there

	dropped int // by the subscriptions, in all
	gone    int // of them, that are not in missed yet
	before  int // messages that are to be taken before those
}

// begin subscribes, and returns when that is in effect.
func (l *live) begin(ctx context.Context, ports []string) error {
	if err := l.w.checkPorts(ctx, ports); err != nil {
		return err
	}
	l.forget = l.w.noteReconnects(l.reconnects)
	for _, subject := range l.subjects {
		sub, err := l.w.nc.ChanSubscribe(subject, l.messages)
		if err != nil {
			l.end()
			return fmt.Errorf("listen to %s: %w", subject, err)
		}
		l.subs = append(l.subs, sub)
	}
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if err := l.w.nc.FlushWithContext(limited); err != nil && l.w.nc.IsConnected() {
		l.end()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("listen to %v: %w", l.subjects, err)
	}
	return nil
}

func (l *live) end() {
	l.forget()
	for _, sub := range l.subs {
		_ = sub.Unsubscribe() // an error means that the connection is closed
	}
}

// pass hands on messages until ctx ends.
func (l *live) pass(ctx context.Context) {
	defer l.end()
	for {
		var out chan item
		first, any := l.first()
		if any {
			out = l.out
		}
		select {
		case m := <-l.messages:
			l.take(m)
		case <-l.reconnects:
			l.cut = true
		case out <- first:
			l.pop()
		case <-ctx.Done():
			return
		}
	}
}

// take puts a message behind those that wait, if there is room.
func (l *live) take(m *nats.Msg) {
	l.noteDropped()
	i := item{subject: m.Subject, header: m.Header, data: m.Data}
	if len(l.waiting) >= backlogFrames || l.bytes > 0 && l.bytes+i.size() > backlogBytes {
		l.missed++
		return
	}
	if err := l.gap(); err != nil {
		l.waiting = append(l.waiting, item{err: err})
		l.missed, l.cut = 0, false
	}
	l.waiting = append(l.waiting, i)
	l.bytes += i.size()
}

// noteDropped counts what the subscriptions have dropped, as they do when the channel is full, behind what is in it.
func (l *live) noteDropped() {
	if l.before--; l.before <= 0 {
		l.missed += l.gone
		l.gone = 0
	}
	if len(l.messages) < intake-1 {
		return
	}
	dropped := 0
	for _, sub := range l.subs {
		n, _ := sub.Dropped()
		dropped += n
	}
	if dropped > l.dropped {
		l.gone, l.before = l.gone+dropped-l.dropped, len(l.messages)
		l.dropped = dropped
	}
}

// first is what the loop gets next.
func (l *live) first() (item, bool) {
	if len(l.waiting) > 0 {
		return l.waiting[0], true
	}
	err := l.gap()
	return item{err: err}, err != nil
}

// pop forgets it.
func (l *live) pop() {
	if len(l.waiting) == 0 {
		l.missed, l.cut = 0, false
		return
	}
	if i := l.waiting[0]; i.err == nil {
		l.bytes -= i.size()
	}
	l.waiting[0] = item{}
	if l.waiting = l.waiting[1:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
}

// gap is what is missing behind the last frame that waits, or nil.
func (l *live) gap() error {
	switch {
	case l.cut:
		return &Missed{Reason: "the connection to the gateway broke, and was made again"}
	case l.missed > 0:
		return &Missed{Frames: l.missed, Reason: fmt.Sprintf("the loop over frames of %v is too slow", l.subjects)}
	}
	return nil
}
