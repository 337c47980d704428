// Package reader takes what a port receives and puts it on the bus, frame by frame. It owns the receiving direction of
// one port; the device's buffer in the kernel is the only queue in front of it, so when the history does not keep up
// the reader waits and the kernel holds the line.
package reader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/publish"
	"github.com/serialvisor/serialvisor/internal/serialio"
	"github.com/serialvisor/serialvisor/internal/worker"
)

// reader is one direction of one port.
type reader struct {
	*worker.Worker
	codec   frame.Codec
	framing string        // its type
	silence time.Duration // after which the codec is told of it, or 0
	buffer  *buffer
	subject string

	gap       bool   // bytes before the next frame were lost
	continued bool   // the frame before the next one goes on in it
	offset    uint64 // of the first byte in the buffer since the port opened

	traffic  *nats.Conn
	cork     worker.Cork        // of traffic
	history  *publish.Publisher // nil: nothing is stored
	forwards []*forwarder
}

// Run publishes what the device sends until ctx ends or the device is gone, which is an error. Before it returns it
// publishes what it has read and waits for the acknowledgements, for at most worker.Grace.
func Run(ctx context.Context, w *worker.Worker) error {
	r := &reader{Worker: w, subject: w.Subjects.Rx(w.Spec.Port)}
	if err := r.prepare(); err != nil {
		return fmt.Errorf("port %s: %w", w.Spec.Port, err)
	}
	// Helpers outlive ctx: they are needed to finish.
	background, cancel := context.WithCancel(context.Background())
	helpers, background := errgroup.WithContext(background)
	defer func() {
		cancel()
		_ = helpers.Wait() // they return nil when their context ends
		r.traffic.Close()
	}()
	if err := r.connect(background, helpers); err != nil {
		return fmt.Errorf("port %s: %w", w.Spec.Port, err)
	}
	stop := context.AfterFunc(ctx, r.Device.Interrupt)
	defer stop()
	if err := r.Ready(); err != nil {
		return fmt.Errorf("port %s: %w", w.Spec.Port, err)
	}
	if err := errors.Join(r.receive(background), r.finish()); err != nil {
		return fmt.Errorf("port %s: %w", w.Spec.Port, err)
	}
	return nil
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
	r.buffer = newBuffer(spec.WireBytes())
	// A predecessor that was killed may have taken bytes along that no stream has: say so, and count on.
	r.offset = r.Counters.RxRead.Load()
	r.gap = r.Counters.RxDone.Load() < r.offset
	return nil
}

// connect opens the connections and starts what runs beside the reading.
func (r *reader) connect(ctx context.Context, helpers *errgroup.Group) error {
	traffic, err := r.Connect(r.Credentials, append(r.cork.Options(), nats.ReconnectHandler(func(*nats.Conn) {
		if r.history != nil {
			r.history.Resend()
		}
	}))...)
	if err != nil {
		return err
	}
	r.traffic = traffic
	if r.Spec.History {
		if r.history, err = publish.New(traffic, r.Log, r.Counters.RxDone.Store); err != nil {
			return err
		}
		helpers.Go(func() error { return r.history.Run(ctx) })
	}
	for _, target := range r.Spec.Forward {
		f, err := newForwarder(r.Worker, target, target.Framing == r.framing, r.cork.Release)
		if err != nil {
			return err
		}
		r.forwards = append(r.forwards, f)
		helpers.Go(func() error { return f.Run(ctx) })
	}
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
	for {
		silence := time.Duration(0)
		if r.buffer.len() > 0 {
			silence = r.silence
		}
		n, err := r.Device.Read(r.buffer.free(), silence)
		r.buffer.grow(n)
		r.Counters.RxRead.Add(uint64(n))
		r.Counters.RxBytes.Add(uint64(n))
		end := frame.More
		switch {
		case errors.Is(err, serialio.ErrIdle):
			end = frame.Silence
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
		err = errors.Join(err, f.Close(ctx))
	}
	return err
}

// publishAll publishes the frames in the buffer. end is what comes behind it.
func (r *reader) publishAll(ctx context.Context, end frame.End) error {
	now := ipc.FormatTime(time.Now())
	r.cork.Hold()
	defer r.cork.Release()
	for r.buffer.len() > 0 {
		data, scanned := r.buffer.data()
		f := r.codec.Split(data, frame.Position{Scanned: scanned, Continued: r.continued, End: end})
		if f.Size == 0 {
			r.buffer.looked()
			return nil
		}
		r.continued = f.Flags&frame.Continued != 0
		if r.gap {
			f.Flags |= frame.Gap
			r.gap = false
		}
		r.offset += uint64(f.Skip)
		if err := r.publish(ctx, f, now); err != nil {
			return err
		}
		r.buffer.take(f.Skip + f.Size)
		r.offset += uint64(f.Size)
	}
	return nil
}

// publish puts one frame on the bus. The payload is the buffer's or the codec's, so the message gets a copy.
func (r *reader) publish(ctx context.Context, f frame.Frame, now string) error {
	id := ipc.MessageID(r.Spec.Port, r.Spec.Session, r.offset)
	m := &nats.Msg{Subject: r.subject, Data: append([]byte(nil), f.Payload...), Header: nats.Header{
		ipc.HeaderTime:   {now},
		ipc.HeaderOffset: {strconv.FormatUint(r.offset, 10)},
		ipc.HeaderMsgID:  {id},
	}}
	if f.Flags != 0 {
		m.Header[ipc.HeaderFlags] = []string{f.Flags.String()}
	}
	end := r.offset + uint64(f.Size)
	if r.history != nil {
		if err := r.history.Publish(ctx, m, end); err != nil {
			return err
		}
	} else {
		if err := r.traffic.PublishMsg(m); err != nil {
			r.Log.Debug("frame not published", "error", err)
		}
		r.Counters.RxDone.Store(end)
	}
	r.Counters.RxFrames.Add(1)
	for _, to := range r.forwards {
		to.forward(ctx, m.Data, f.Flags, r.offset)
	}
	return nil
}
