package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

const (
	// batch is how many frames are asked for at a time.
	batch = 128
	// batchWait is how long the history waits for so many.
	batchWait = 30 * time.Second
	// heartbeat is how often it says meanwhile that it is there; twice as long without is an error.
	heartbeat = 2 * time.Second
	// retryHistory is how soon an error is followed by another attempt, then twice as long, up to a second.
	retryHistory = 50 * time.Millisecond
)

// FramesSince is Frames, beginning with what was received in the last since, out of the history, and going on with what comes. Nothing is
// missing in between and nothing comes twice. Only role tap may read the history.
//
// Frames of several ports come in the order in which they were stored.
//
// All frames come by way of the history. So a loop that is slow, or a broken connection, misses nothing, for as long as the history
// keeps it; else the loop is told with ErrMissed, as it is when the disk could not keep up. After such an outage frames can come
// late, behind newer ones; Offset and Time tell. At most 128 frames are in the worker's memory.
func (w *Worker) FramesSince(ctx context.Context, since time.Duration, ports ...string) iter.Seq2[Frame, error] {
	from := time.Now().Add(-max(since, 0))
	f, ctx := w.newFeed(ctx, w.rxSubjects(ports))
	h := &history{feed: f, of: f.subjects, from: from, lost: map[string]uint64{}}
	f.run(func() error { return h.begin(ctx, ports) }, func() { h.pass(ctx) })
	return f.iterate(ctx)
}

// history feeds from the stream.
type history struct {
	*feed
	of         []string // the subjects
	from       time.Time
	stream     jetstream.Stream
	states     chan *nats.Msg
	reconnects chan struct{}

	last    uint64            // stream sequence of the last frame passed; 0: none
	count   uint64            // consumer sequence of that frame
	covered uint64            // nothing up to this stream sequence is still to come; 0: that is not known
	created time.Time         // when the stream came to be
	lost    map[string]uint64 // by port: what the history could not keep
}

// begin finds the stream.
func (h *history) begin(ctx context.Context, ports []string) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if err := h.w.checkPorts(ctx, ports); err != nil {
		return err
	}
	js, err := jetstream.New(h.w.nc)
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	own, done := h.w.waiting(ctx, false, func(subject string) bool {
		return subject == "$JS.API.STREAM.INFO."+h.w.subjects.History()
	})
	defer done()
	h.stream, err = js.Stream(own, h.w.subjects.History())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return errors.New("this gateway keeps no history: its config says history: {storage: none}")
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders), errors.Is(context.Cause(own), ErrNotAllowed):
		return fmt.Errorf("read the history: %w: only role tap may", ErrNotAllowed)
	case err != nil && own.Err() != nil:
		return fmt.Errorf("read the history: it does not answer: %w", context.Cause(own))
	case err != nil:
		return fmt.Errorf("read the history: %w", err)
	}
	// What was lost before is not news.
	if s, err := h.w.status(ctx); err == nil {
		for _, p := range s.Ports {
			h.lost[p.Name] = p.Rx.LostHistory + p.Tx.LostHistory
		}
	}
	return nil
}

// listen subscribes to what the history says that it could not keep.
func (h *history) listen() (end func()) {
	h.states, h.reconnects = make(chan *nats.Msg, 64), make(chan struct{}, 1)
	forget := h.w.noteReconnects(h.reconnects)
	var subs []*nats.Subscription
	for _, rx := range h.of {
		port, _, _ := h.w.subjects.Split(rx)
		if sub, err := h.w.nc.ChanSubscribe(h.w.subjects.State(port), h.states); err == nil { // else it is closed
			subs = append(subs, sub)
		}
	}
	return func() {
		forget()
		for _, sub := range subs {
			_ = sub.Unsubscribe() // an error means that the connection is closed
		}
	}
}

// pass hands on frames until ctx ends. Whatever is wrong with the connection or the server, it goes on behind the last frame.
func (h *history) pass(ctx context.Context) {
	defer h.listen()()
	wait := retryHistory
	for ctx.Err() == nil {
		passed := h.last
		if err := h.read(ctx); errors.Is(err, ErrNotAllowed) {
			_ = h.put(ctx, item{err: err}) // else ctx has ended
			return
		}
		if h.last != passed {
			wait = retryHistory
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
}

// read makes a consumer and passes on what it delivers, until something is wrong.
func (h *history) read(ctx context.Context) error {
	config := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 2 * batchWait, FilterSubjects: h.of,
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &h.from,
	}
	if h.last > 0 {
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartSequencePolicy, h.last+1, nil
	}
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	consumer, err := h.stream.CreateConsumer(limited, config)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.Code == http.StatusForbidden {
		return fmt.Errorf("read the history of %v: %w: %s", h.of, ErrNotAllowed, refused.Description)
	}
	if err != nil {
		return err
	}
	h.count = 0
	for {
		if err := h.fetch(ctx, consumer); err != nil {
			return err
		}
	}
}

// errAgain is why a consumer is replaced.
var errAgain = errors.New("frames were lost on their way here")

// fetch passes on one batch.
func (h *history) fetch(ctx context.Context, consumer jetstream.Consumer) error {
	stored, err := h.checkKept(ctx)
	if err != nil {
		return err
	}
	// Its deadline is not ctx's, which may be too near for heartbeats.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchWait)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	fetched, err := consumer.Fetch(batch, jetstream.FetchContext(own), jetstream.FetchHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	messages := fetched.Messages()
	for n := 0; ; {
		select {
		case m, more := <-messages:
			if more {
				if err := h.take(ctx, m); err != nil {
					return err
				}
				n++
				continue
			}
			if err := fetched.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			if h.covered = h.last; n < batch {
				h.covered = max(h.last, stored) // all that there was has been delivered
			}
			return ctx.Err()
		case m := <-h.states:
			if err := h.noteLost(ctx, m); err != nil {
				return err
			}
		case <-h.reconnects:
			return errAgain // what the server had sent may be lost
		}
	}
}

// take passes on a frame.
func (h *history) take(ctx context.Context, m jetstream.Msg) error {
	info, err := m.Metadata()
	if err != nil {
		return err
	}
	if info.Sequence.Consumer != h.count+1 {
		return errAgain
	}
	h.count++
	if err := h.put(ctx, item{subject: m.Subject(), header: m.Headers(), data: m.Data()}); err != nil {
		return err
	}
	h.last = info.Sequence.Stream
	return nil
}

func (h *history) put(ctx context.Context, i item) error {
	select {
	case h.out <- i:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkKept tells if the history has let go of frames before they could be asked for. It returns the last sequence stored.
func (h *history) checkKept(ctx context.Context) (stored uint64, err error) {
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	own, done := h.w.waiting(limited, true, func(string) bool { return false })
	defer done()
	info, err := h.stream.Info(own)
	if err != nil {
		return 0, err
	}
	switch {
	case !h.created.IsZero() && !info.Created.Equal(h.created):
		if err := h.put(ctx, item{err: &Missed{Reason: "the gateway began a new history"}}); err != nil {
			return 0, err
		}
		h.created, h.last, h.covered = info.Created, 0, 0
		return 0, errAgain
	case h.covered > 0 && info.State.FirstSeq > h.covered+1:
		err = h.put(ctx, item{err: &Missed{Reason: "the loop is slower than frames come, and the history does not keep them for so long"}})
		h.covered = 0 // it was told
	}
	h.created = info.Created
	return info.State.LastSeq, err
}

// noteLost tells what the disk could not keep.
func (h *history) noteLost(ctx context.Context, m *nats.Msg) error {
	var s ipc.PortState
	if json.Unmarshal(m.Data, &s) != nil {
		return nil
	}
	known := h.lost[s.Port]
	h.lost[s.Port] = s.LostHistory
	if s.LostHistory <= known {
		return nil
	}
	return h.put(ctx, item{err: &Missed{
		Frames: int(s.LostHistory - known),
		Reason: fmt.Sprintf("port %s: the history could not keep all that was received and sent", s.Port),
	}})
}
