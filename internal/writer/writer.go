// Package writer takes frames from a port's queue and hands them to the device, one after the other. It owns the sending
// direction of one port: a frame leaves the queue when the kernel has taken every byte of it and the history knows. A
// writer that is killed loses and doubles none: the frame in its hands is in the port's memory, with how far it had got.
package writer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/crash"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/publish"
	"github.com/serialvisor/serialvisor/internal/ring"
	"github.com/serialvisor/serialvisor/internal/serialio"
	"github.com/serialvisor/serialvisor/internal/worker"
)

// writer is one direction of one port.
type writer struct {
	*worker.Worker
	codec     frame.Codec
	maxBytes  int
	gap       time.Duration // of silence behind each frame, or 0
	answers   frame.Codec   // of what the device sends
	raw       bool          // that comes in no frames
	delimiter []byte        // between frames that it sends; nil: there is none

	stopping <-chan struct{} // closed when no further frame is to be begun

	control *nats.Conn           // where frames and requests come from
	replies worker.Cork          // of control
	line    *line                // of requests
	direct  *line                // of frames that come from no queue; nil: they come from one
	subs    []*nats.Subscription // of both
	traffic *nats.Conn           // where is told what became of them
	cork    worker.Cork          // of traffic
	history *publish.Publisher   // nil: nothing is stored
	acks    *acks
	parked  parked

	mu           sync.Mutex // held while a frame is in hand; guards all below
	stopped      bool
	tx           *ring.Sender
	inPipe       int
	untold       *ring.Sending // a queued frame that a predecessor has left, until its message comes
	quiet        time.Time     // until then nothing is sent
	gone         chan struct{} // closed with err when the writer is to end before it is asked to
	err          error
	lease        ring.Lease // as it was with number leaseVersion
	leaseVersion uint64
}

// Run writes queued frames until ctx ends or the device is gone, which is an error. Before it returns it finishes the
// frame in hand, for which it takes at most worker.Grace; frames that it did not finish stay in the queue.
func Run(ctx context.Context, w *worker.Worker) error {
	wr := &writer{Worker: w, gone: make(chan struct{}), stopping: ctx.Done(), line: newLine(waitingRequests, waitingBytes)}
	if err := wr.run(ctx); err != nil {
		return fmt.Errorf("port %s: %w", w.Spec.Port, err)
	}
	return nil
}

func (w *writer) run(ctx context.Context) error {
	if err := w.prepare(); err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.Background())
	helpers, background := errgroup.WithContext(background)
	defer func() {
		cancel()
		_ = helpers.Wait() // they return nil when their context ends
	}()
	if err := w.connect(background, helpers); err != nil {
		return err
	}
	defer w.traffic.Close()
	defer w.control.Close()
	deadline := context.AfterFunc(ctx, func() { time.AfterFunc(worker.Grace, w.Device.Interrupt) })
	defer deadline()
	if err := w.resume(); err != nil {
		return err
	}
	stop, err := w.consume(ctx, background, helpers)
	if err != nil {
		return err
	}
	defer stop()
	if err := w.listenForRequests(); err != nil {
		return err
	}
	helpers.Go(func() error { return w.line.serve(background, w.serve) })
	awake := context.AfterFunc(ctx, w.Bell.Ring) // ends the wait for an answer
	defer awake()
	if err := w.Ready(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-w.gone:
	}
	return w.finish()
}

func (w *writer) prepare() error {
	var spec frame.Spec
	if err := json.Unmarshal(w.Spec.Framing, &spec); err != nil {
		return fmt.Errorf("framing: %w", err)
	}
	codec, err := frame.New(spec)
	if err != nil {
		return fmt.Errorf("framing: %w", err)
	}
	w.codec, w.maxBytes, w.gap, w.quiet = codec, spec.MaxBytes, spec.Gap, w.Spec.NotBefore
	var answers frame.Spec
	if err := json.Unmarshal(w.Spec.Answers, &answers); err != nil {
		return fmt.Errorf("framing of answers: %w", err)
	}
	if w.answers, err = frame.New(answers); err != nil {
		return fmt.Errorf("framing of answers: %w", err)
	}
	w.delimiter, w.raw = answers.Delimiter, answers.Type == frame.Raw
	if w.inPipe, err = w.Pipe.Waiting(); err != nil {
		return err
	}
	w.tx = w.Ring.Sender(w.inPipe)
	w.acks = newAcks(w.Log, w.tx.Settled)
	return nil
}

func (w *writer) connect(ctx context.Context, helpers *errgroup.Group) error {
	var err error
	// News of a lease may have been lost with a connection.
	if w.control, err = w.Connect(&w.replies, nats.ReconnectHandler(func(*nats.Conn) { w.leaseChanged() })); err != nil {
		return err
	}
	w.traffic, err = w.ConnectSecond(&w.cork, nats.ReconnectHandler(func(*nats.Conn) {
		if w.history != nil {
			w.history.Resend()
		}
	}))
	if err != nil {
		return err
	}
	if w.Spec.History != "" {
		lost := publish.GiveUpAfter(publish.LongestWait, w.Ring.CountLostSent)
		if w.history, err = publish.New(w.traffic, w.Log, w.acks.settle, lost, publish.WaitWhile(w.Ring.Stores), publish.RepeatOn(w.Subjects.Again), publish.Window(untoldMost)); err != nil {
			return err
		}
		helpers.Go(func() error { return w.history.Run(ctx) })
		helpers.Go(func() error { return w.acks.Run(ctx) })
	}
	return nil
}

// untoldMost is how many frames may be written and not be in the history. Each keeps its place in the queue meanwhile.
const untoldMost = 512

// resume finishes the frame that a predecessor had in hand, and tells of it.
func (w *writer) resume() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f, ok := w.tx.InHand(); ok {
		if err := w.push(); err != nil {
			return err
		}
		if f.Kind == ring.Queued {
			f.Wire = append([]byte(nil), f.Wire...)
			w.untold = &f // its message is still in the queue
		}
	}
	w.resumeAnswer()
	if f, ok := w.tx.Untold(); ok {
		w.tellDirect(f)
	}
	return nil
}

// finish lets the frame in hand get through, takes no other, and waits until all is told.
func (w *writer) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), worker.Grace)
	err := w.refuseRequests(ctx)
	cancel()
	w.mu.Lock()
	w.stopped = true
	if errors.Is(w.err, serialio.ErrInterrupted) {
		w.err = nil // it was asked to end, and the device has had its time
		w.sayUnfinished()
	}
	err = errors.Join(w.err, err)
	w.mu.Unlock()
	// At once, so that the device's name is free when it comes back.
	_ = w.Device.Close()
	ctx, cancel = context.WithTimeout(context.Background(), worker.Grace)
	defer cancel()
	if w.history != nil {
		err = errors.Join(err, w.history.Flush(ctx))
		w.acks.send()
	}
	// The acknowledgements to the queue.
	return errors.Join(err, w.control.FlushWithContext(ctx), w.traffic.FlushWithContext(ctx))
}

// sayUnfinished says what becomes of the frame that the device has not taken when the writer must end. mu must be held.
func (w *writer) sayUnfinished() {
	f, _ := w.tx.InHand()
	text := "the device has not taken the whole frame, which is given up"
	if f.Kind == ring.Queued {
		text = "the device has not taken the whole frame, which stays queued and is sent when the port opens again"
	}
	w.Log.Warn(text, "port", w.Spec.Port, "waited", worker.Grace)
}

// write hands one frame to the device, and returns nil when the kernel has taken every byte. A failure is final: the
// worker ends with it, and a successor, if there is still a device, goes on with the same frame.
func (w *writer) write(f ring.Sending) error {
	if w.stopped || !w.quietOver() {
		return serialio.ErrInterrupted
	}
	w.tx.Begin(f)
	err := w.push()
	if err == nil && w.gap > 0 {
		// Where silence ends a frame the next one waits for it: the time that the bytes take on the line, and the gap.
		var took time.Duration
		took, err = w.Device.LineTime(len(f.Wire))
		w.quiet = time.Now().Add(took + w.gap)
	}
	if err != nil {
		w.fail(err)
	}
	return err
}

// fail ends the writer with an error. mu must be held.
func (w *writer) fail(err error) {
	if w.err == nil {
		w.stopped = true
		w.err = err
		close(w.gone)
	}
}

// feedMost is how much of a frame is in the pipe at once, which is less than any pipe holds.
const feedMost = 4096

// push moves what is left of the frame in hand to the device, through the pipe.
func (w *writer) push() error {
	f, _ := w.tx.InHand()
	taken := len(f.Wire) - len(w.tx.Rest(len(f.Wire))) - w.inPipe
	for {
		n, err := w.Device.SpliceOut(w.Pipe, w.inPipe)
		crash.Point("tx-spliced")
		w.inPipe -= n
		taken += n
		w.tx.Written(taken)
		if err != nil {
			return err
		}
		if taken == len(f.Wire) {
			w.tx.Complete()
			crash.Point("tx-completed")
			return nil
		}
		if n, err = w.tx.Feed(w.tx.Rest(feedMost), w.Pipe.Write); err != nil {
			return err
		}
		if w.inPipe = n; n == 0 {
			return errors.New("the pipe to the device takes nothing")
		}
	}
}

// quietOver waits until something may be sent. It returns false if the worker is to stop before.
func (w *writer) quietOver() bool {
	if w.quiet.IsZero() {
		return true
	}
	if w.sleepUntil(w.quiet) {
		w.quiet = time.Time{}
		return true
	}
	return false
}

// sleepUntil returns false if the worker is to stop before.
func (w *writer) sleepUntil(end time.Time) bool {
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.stopping:
		w.stopped = true
		return false
	}
}
