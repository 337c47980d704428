// Package reader takes what a port receives and puts it on the bus, frame by frame. It owns the receiving direction of
// one port. Bytes that it has not handed over are in the kernel or in the port's ring, never in it alone: when the history
// does not keep up the reader waits and the kernel holds the line, and when it is killed its successor goes on.
package reader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
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

// reader is one direction of one port.
type reader struct {
	*worker.Worker
	codec   frame.Codec
	framing string        // its type
	skips   bool          // it takes delimiters in front of frames away
	silence time.Duration // after which the codec is told of it, or 0
	subject string

	rx        *ring.Receiver
	scanned   int           // bytes of rx.Data in which the codec has found no frame
	continued bool          // the frame before the next one goes on in it
	settled   chan struct{} // holds a token after frames were settled

	traffic     *nats.Conn
	trafficCork worker.Cork
	history     *publish.Publisher // nil: nothing is stored
	control     *nats.Conn         // where frames are forwarded to; nil: nowhere
	controlCork worker.Cork
	forwards    []*forwarder
	stamp       stamp
}

// Run publishes what the device sends until ctx ends or the device is gone, which is an error. Before it returns it
// publishes what it has read and waits for the acknowledgements, for at most worker.Grace.
func Run(ctx context.Context, w *worker.Worker) error {
	r := &reader{Worker: w, subject: w.Subjects.Rx(w.Spec.Port), settled: make(chan struct{}, 1)}
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("port %s: %w", w.Spec.Port, err)
	}
	return nil
}

func (r *reader) run(ctx context.Context) error {
	if err := r.prepare(); err != nil {
		return err
	}
	// Helpers outlive ctx: they are needed to finish.
	background, cancel := context.WithCancel(context.Background())
	helpers, background := errgroup.WithContext(background)
	defer func() {
		cancel()
		_ = helpers.Wait() // they return nil when their context ends
		r.traffic.Close()
		if r.control != nil {
			r.control.Close()
		}
	}()
	if err := r.connect(background, helpers); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, r.Device.Interrupt)
	defer stop()
	if err := r.resume(background); err != nil {
		return err
	}
	if err := r.Ready(); err != nil {
		return err
	}
	return errors.Join(r.receive(background), r.finish())
}

func (r *reader) prepare() error {
	var spec frame.Spec
	if err := json.Unmarshal(r.Spec.Framing, &spec); err != nil {
		return fmt.Errorf("framing: %w", err)
	}
	codec, err := frame.New(spec)
	if err != nil {
		return fmt.Errorf("framing: %w", err)
	}
	r.codec, r.framing, r.silence = codec, spec.Type, spec.Silence()
	_, r.skips = spec.Between()
	inPipe, err := r.Pipe.Waiting()
	if err != nil {
		return err
	}
	var targets []string
	for _, target := range r.Spec.Forward {
		targets = append(targets, target.Port)
	}
	if r.rx, err = r.Ring.Receiver(targets, inPipe); err != nil {
		return err
	}
	if last, ok := r.rx.Last(); ok {
		r.continued = frame.Flags(last.Flags)&frame.Continued != 0
	}
	return nil
}

// connect opens the connections and starts what runs beside the reading.
func (r *reader) connect(ctx context.Context, helpers *errgroup.Group) error {
	var err error
	if r.traffic, err = r.Connect(&r.trafficCork, nats.ReconnectHandler(func(*nats.Conn) {
		if r.history != nil {
			r.history.Resend()
		}
	})); err != nil {
		return err
	}
	if r.Spec.History != "" {
		lost := publish.GiveUpAfter(publish.LongestWait, r.Ring.CountLostHistory)
		if r.history, err = publish.New(r.traffic, r.Log, r.settles(r.rx.Stored), lost, publish.WaitWhile(r.Ring.Stores), publish.RepeatOn(r.Subjects.Again),
			publish.BeforeWaiting(r.release)); err != nil {
			return err
		}
		helpers.Go(func() error { return r.history.Run(ctx) })
	}
	if len(r.Spec.Forward) == 0 {
		return nil
	}
	if r.control, err = r.ConnectSecond(&r.controlCork); err != nil {
		return err
	}
	for i, target := range r.Spec.Forward {
		settle := r.settles(func(n uint64) { r.rx.Forwarded(i, n) })
		f, err := newForwarder(r.Worker, r.control, target, target.Framing == r.framing, r.release, settle)
		if err != nil {
			return err
		}
		r.forwards = append(r.forwards, f)
		helpers.Go(func() error { return f.Run(ctx) })
	}
	r.control.SetReconnectHandler(func(*nats.Conn) {
		for _, f := range r.forwards {
			f.Resend()
		}
	})
	return nil
}

// hold collects what is published, until release sends it in one go.
func (r *reader) hold() {
	r.trafficCork.Hold()
	r.controlCork.Hold()
}

func (r *reader) release() {
	r.trafficCork.Release()
	r.controlCork.Release()
}

// settles notes frames as settled and tells a reader that waits for room.
func (r *reader) settles(note func(n uint64)) func(n uint64) {
	return func(n uint64) {
		note(n)
		select {
		case r.settled <- struct{}{}:
		default:
		}
	}
}

// resume goes on where a predecessor stood: it publishes the frames again that it has left for somebody. They are the same
// to the byte, so that streams know them by their ids.
func (r *reader) resume(ctx context.Context) error {
	if r.history != nil {
		if offset, ok := r.lastStored(ctx); ok {
			r.rx.StoredThrough(offset)
		}
	}
	r.Bell.Ring() // it may have died between Announce and that
	r.hold()
	defer r.release()
	for f := range r.rx.Unsettled {
		if err := r.publish(ctx, f, r.codec.Payload(f.Wire, frame.Flags(f.Flags))); err != nil {
			return err
		}
	}
	r.published()
	return nil
}

// receive reads until the device is gone (an error) or the worker is asked to stop.
func (r *reader) receive(ctx context.Context) error {
	if r.framing == frame.GapType {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := r.Device.MindSilence(); err != nil {
			return err
		}
	}
	// A predecessor may have died before it had cut all that it had taken, and the device may have said its last.
	if err := r.publishAll(ctx, frame.More); err != nil {
		return err
	}
	for {
		if err := r.awaitRoom(ctx, func() bool { return len(r.rx.Free()) > 0 }); err != nil {
			return err
		}
		err := r.take()
		r.announce(ring.WantBytes)
		end := frame.More
		switch {
		case errors.Is(err, serialio.ErrIdle):
			end = frame.Silence
		case errors.Is(err, serialio.ErrInterrupted) && r.Ring.Lasting():
			return nil // the next reader goes on in the middle of a frame
		case err != nil:
			end = frame.Closed
		}
		if perr := r.publishAll(ctx, end); perr != nil {
			return perr
		}
		switch {
		case end != frame.Closed:
		case errors.Is(err, serialio.ErrInterrupted):
			return nil
		default:
			return err
		}
	}
}

// take moves what the device has sent into the ring, by way of the pipe, where a predecessor or a full ring may have left
// something.
func (r *reader) take() error {
	if r.rx.InPipe() == 0 {
		silence := time.Duration(0)
		if len(r.rx.Data()) > 0 {
			silence = r.silence
		}
		n, err := r.Device.SpliceIn(r.Pipe, silence)
		if err != nil {
			return err
		}
		crash.Point("rx-piped")
		r.rx.Piped(n)
	}
	return r.rx.Take(r.Pipe.Read)
}

// announce wakes the writer if it waits for what has come.
func (r *reader) announce(news ring.Wanted) {
	if r.Ring.Announce(news) {
		crash.Point("rx-announced")
		r.Bell.Ring()
	}
}

// awaitRoom waits until there is room for more, which comes with frames that are settled. Who takes long over one does not
// hold up the others.
func (r *reader) awaitRoom(ctx context.Context, room func() bool) error {
	for !room() {
		r.published()
		if room() {
			return nil
		}
		wait := r.relieve()
		if wait == 0 {
			continue
		}
		select {
		case <-r.settled:
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// relieve has the one that holds the oldest frame up let go of it, if he has had it for long enough. Else it returns how
// long he may keep it yet.
func (r *reader) relieve() (wait time.Duration) {
	if target, history := r.rx.Late(); !history {
		return r.forwards[target].relieve()
	} else if r.history != nil {
		return r.history.Relieve()
	}
	return publish.LongestWait
}

// finish gives the device back and waits until what was published is safe.
func (r *reader) finish() error {
	// At once, so that the device's name is free when it comes back.
	_ = r.Device.Close()
	ctx, cancel := context.WithTimeout(context.Background(), worker.Grace)
	defer cancel()
	var err error
	if r.history != nil {
		err = r.history.Flush(ctx)
	} else {
		err = r.traffic.FlushWithContext(ctx)
	}
	for _, f := range r.forwards {
		err = errors.Join(err, f.Flush(ctx))
	}
	return err
}
