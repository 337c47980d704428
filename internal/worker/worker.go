// Package worker is what the built-in worker processes have in common: they learn from their environment what to do,
// say when they are ready, stop when asked to, and end with an exit code that the supervisor understands.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/ring"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// Grace is how long a worker that was asked to stop takes to finish what it has in hand. The supervisor waits longer.
const Grace = 3 * time.Second

// collectOften has memory collected when this much has been added to what is in use, in percent, or a quarter of what is usual at
// the least: a worker under load would keep 4 MiB otherwise.
const collectOften = 25

// connectLimit is how long the broker may take to let a worker in.
const connectLimit = 10 * time.Second

// ErrAgain ends a worker that is to be replaced at once.
var ErrAgain = errors.New("a successor is to go on")

// Worker is what one process works with. It owns Device and the connections that it makes.
type Worker struct {
	Name        string
	Credentials ipc.Credentials // of the account that the worker's main business is in
	Spec        *ipc.Spec
	Subjects    ipc.Subjects
	Device      *serialio.Device
	Pipe        serialio.Pipe // between device and Ring
	Ring        *ring.Ring
	Bell        serialio.Bell // wakes the writer when something was received that it waits for
	Received    serialio.Pipe // the reader's, to be counted and not to be read
	Log         *slog.Logger
}

// Main runs a worker process and returns its exit code. run returns when ctx ends, which is when the supervisor asks.
func Main(run func(ctx context.Context, w *Worker) error) int {
	if len(os.Args) == 2 && os.Args[1] == "--version" { // by which the supervisor finds out whether the program runs
		fmt.Println(filepath.Base(os.Args[0]), "version", ipc.Version)
		return ipc.ExitOK
	}
	w, err := fromEnviron()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		return ipc.ExitUsage
	}
	// A worker does one thing at a time. With a single processor its goroutines hand over without waking threads, which
	// takes a quarter off the latency of a frame.
	runtime.GOMAXPROCS(1)
	// There are many of them, and what one keeps is little.
	debug.SetGCPercent(collectOften)
	// SIGINT from a terminal reaches the whole foreground group; the supervisor decides what it means.
	signal.Ignore(syscall.SIGINT)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, upgrade := untilUpgrade(ctx)
	defer upgrade()
	switch err := run(ctx, w); {
	case err == nil && errors.Is(context.Cause(ctx), errUpgrade):
		signal.Reset(syscall.SIGTERM) // there is nothing to finish any more
		return w.succeeded(becomeSuccessor())
	case err == nil:
		return ipc.ExitOK
	case errors.Is(err, serialio.ErrHangup):
		w.Log.Debug("device gone", "error", err)
		return ipc.ExitDeviceGone
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		w.Log.Debug("asked to end before it was at work", "error", err)
		return ipc.ExitOK
	case errors.Is(err, ErrAgain):
		w.Log.Debug("a successor goes on")
		return ipc.ExitAgain
	default:
		w.Log.Error(err.Error())
		return ipc.ExitFailed
	}
}

func fromEnviron() (*Worker, error) {
	credentials, spec, err := ipc.FromEnviron()
	if err != nil {
		return nil, err
	}
	w := &Worker{
		Name: os.Getenv(ipc.EnvWorker), Credentials: credentials, Spec: spec, Subjects: ipc.Subjects{Root: credentials.Root},
		Log: slog.New(newHandler(os.Stderr)),
	}
	if err := ring.Lock(ipc.Descriptor(ipc.FDRing), w.Name); err != nil {
		return nil, err
	}
	if w.Ring, err = ring.Open(ipc.Descriptor(ipc.FDRing)); err != nil {
		return nil, err
	}
	w.Pipe = serialio.Pipe{R: ipc.Descriptor(ipc.FDPipeRead), W: ipc.Descriptor(ipc.FDPipeWrite)}
	w.Bell = serialio.Bell(ipc.Descriptor(ipc.FDBell))
	w.Received = serialio.Pipe{R: ipc.Descriptor(ipc.FDReceived), W: -1}
	if w.Device, err = serialio.Borrow(uintptr(ipc.Descriptor(ipc.FDDevice))); err != nil {
		return nil, err
	}
	return w, nil
}

// Connect opens the connection with the worker's own credentials. What is published on it goes out through the cork, if that
// is not nil.
func (w *Worker) Connect(cork *Cork, options ...nats.Option) (*nats.Conn, error) {
	return w.connect(w.Credentials, ipc.Descriptor(ipc.FDBroker), cork, options)
}

// ConnectSecond opens the connection with Spec.Second.
func (w *Worker) ConnectSecond(cork *Cork, options ...nats.Option) (*nats.Conn, error) {
	return w.connect(w.Spec.Second, ipc.Descriptor(ipc.FDSecond), cork, options)
}

// connect opens a connection whose troubles are logged.
func (w *Worker) connect(c ipc.Credentials, fd int, cork *Cork, options []nats.Option) (*nats.Conn, error) {
	dialer := &lentSocket{fd: fd}
	own := []nats.Option{
		nats.SetCustomDialer(dialer), nats.Timeout(connectLimit),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				w.Log.Warn("lost the broker, connecting again", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { w.Log.Warn("broker", "error", err) }),
	}
	if cork != nil {
		own = append(own, cork.over(dialer)...)
	}
	return c.Connect(w.Name, append(own, options...)...)
}

// Ready tells the supervisor that the worker is at work.
func (w *Worker) Ready() error {
	pipe := os.NewFile(uintptr(ipc.Descriptor(ipc.FDReady)), "ready")
	if _, err := io.WriteString(pipe, ipc.Ready); err != nil {
		return fmt.Errorf("tell the supervisor: %w", err)
	}
	return pipe.Close()
}
