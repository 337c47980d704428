// Package writer takes frames from a port's queue and hands them to the device, one after the other. It owns the sending
// direction of one port: a frame leaves the queue when the kernel has taken every byte of it.
package writer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/publish"
	"github.com/serialvisor/serialvisor/internal/serialio"
	"github.com/serialvisor/serialvisor/internal/worker"
)

// writer is one direction of one port.
type writer struct {
	*worker.Worker
	codec    frame.Codec
	maxBytes int
	gap      time.Duration // of silence behind each frame, or 0

	stopping <-chan struct{} // closed when no further frame is to be begun

	control *nats.Conn         // where frames come from
	traffic *nats.Conn         // where is told what became of them
	history *publish.Publisher // nil: nothing is stored

	mu      sync.Mutex // held while a frame is in hand; guards all below
	stopped bool
	wire    []byte        // the frame in hand as it goes to the device, reused
	quiet   time.Time     // until then nothing is sent
	gone    chan struct{} // closed with err when the device does not take frames any more
	err     error
}

// Run writes queued frames until ctx ends or the device is gone, which is an error. Before it returns it finishes the
// frame in hand, for which it takes at most worker.Grace; frames that it did not finish stay in the queue.
func Run(ctx context.Context, w *worker.Worker) error {
	wr := &writer{Worker: w, gone: make(chan struct{}), stopping: ctx.Done()}
	if err := wr.run(ctx); err != nil {
		return fmt.Errorf("port %s: %w", w.Spec.Port, err)
	}
	return nil
}

func (w *writer) run(ctx context.Context) error {
	var spec frame.Spec
	if err := json.Unmarshal(w.Spec.Framing, &spec); err != nil {
		return fmt.Errorf("framing: %w", err)
	}
	codec, err := frame.New(spec)
	if err != nil {
		return fmt.Errorf("framing: %w", err)
	}
	w.codec, w.maxBytes, w.gap, w.quiet = codec, spec.MaxBytes, spec.Gap, w.Spec.NotBefore

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
	stop, err := w.consume(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := w.Ready(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-w.gone:
	}
	return w.finish()
}

func (w *writer) connect(ctx context.Context, helpers *errgroup.Group) error {
	var err error
	if w.control, err = w.Connect(w.Credentials); err != nil {
		return err
	}
	w.traffic, err = w.Connect(w.Spec.Second, nats.ReconnectHandler(func(*nats.Conn) {
		if w.history != nil {
			w.history.Resend()
		}
	}))
	if err != nil {
		return err
	}
	if w.Spec.History {
		if w.history, err = publish.New(w.traffic, w.Log, nil); err != nil {
			return err
		}
		helpers.Go(func() error { return w.history.Run(ctx) })
	}
	return nil
}

// finish lets the frame in hand get through, takes no other, and waits until all is told.
func (w *writer) finish() error {
	deadline := time.AfterFunc(worker.Grace, w.Device.Interrupt)
	defer deadline.Stop()
	w.mu.Lock()
	w.stopped = true
	err := w.err
	w.mu.Unlock()
	// At once, so that the device's name is free when it comes back.
	_ = w.Device.Close()
	ctx, cancel := context.WithTimeout(context.Background(), worker.Grace)
	defer cancel()
	if w.history != nil {
		err = errors.Join(err, w.history.Flush(ctx))
	}
	// The acknowledgements to the queue.
	return errors.Join(err, w.control.FlushWithContext(ctx), w.traffic.FlushWithContext(ctx))
}

// order is a frame to be sent.
type order struct {
	payload  []byte
	flags    frame.Flags
	stream   string // it came from, for its id
	sequence uint64
}

// write hands one frame to the device, and returns nil when the kernel has taken every byte. A failure is final: the
// worker ends with it, and a successor, if there is still a device, begins with the same frame.
func (w *writer) write(o order) error {
	if w.stopped || !w.quietOver() {
		return serialio.ErrInterrupted
	}
	w.wire = w.codec.Append(w.wire[:0], o.payload, o.flags)
	n, err := w.send()
	w.Counters.TxBytes.Add(uint64(n))
	if err != nil {
		w.stopped = true
		w.err = err
		close(w.gone)
		return err
	}
	w.Counters.TxFrames.Add(1)
	return nil
}

// quietOver waits until something may be sent. It returns false if the worker is to stop before.
func (w *writer) quietOver() bool {
	if w.quiet.IsZero() {
		return true
	}
	timer := time.NewTimer(time.Until(w.quiet))
	defer timer.Stop()
	select {
	case <-timer.C:
		w.quiet = time.Time{}
		return true
	case <-w.stopping:
		w.stopped = true
		return false
	}
}

// send writes what is on the wire next. Where silence ends a frame the next one waits for it: the time that the bytes
// take on the line, and the gap.
func (w *writer) send() (int, error) {
	n, err := w.Device.Write(w.wire)
	if err != nil || w.gap == 0 {
		return n, err
	}
	took, err := w.Device.LineTime(n)
	w.quiet = time.Now().Add(took + w.gap)
	return n, err
}

// tell publishes a frame on sent, as it was written.
func (w *writer) tell(o order) {
	m := &nats.Msg{Subject: w.Subjects.Sent(w.Spec.Port), Data: append([]byte(nil), w.wire...), Header: nats.Header{
		ipc.HeaderTime:     {ipc.FormatTime(time.Now())},
		ipc.HeaderQueueSeq: {strconv.FormatUint(o.sequence, 10)},
		ipc.HeaderMsgID:    {ipc.SentID(w.Spec.Port, o.stream, o.sequence)},
	}}
	w.publish(m)
}

// expire publishes a frame that cannot be sent, with the reason.
func (w *writer) expire(o order, reason string) {
	w.Counters.TxExpired.Add(1)
	w.Log.Warn("a frame was not sent", "bytes", len(o.payload), "reason", reason)
	w.publish(&nats.Msg{Subject: w.Subjects.Expired(w.Spec.Port), Data: o.payload, Header: nats.Header{
		ipc.HeaderTime:     {ipc.FormatTime(time.Now())},
		ipc.HeaderQueueSeq: {strconv.FormatUint(o.sequence, 10)},
		ipc.HeaderMsgID:    {ipc.SentID(w.Spec.Port, o.stream, o.sequence)},
		ipc.HeaderReason:   {reason},
	}})
}

func (w *writer) publish(m *nats.Msg) {
	var err error
	if w.history != nil {
		err = w.history.Publish(context.Background(), m, 0)
	} else {
		err = w.traffic.PublishMsg(m)
	}
	if err != nil {
		w.Log.Warn("could not tell what was sent", "error", err)
	}
}
