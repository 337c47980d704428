// Package worker is for those who write a worker of their own in Go: a process that sees what serial ports receive and
// sends to them, and that a serialvisor gateway starts and watches over.
//
// A worker's main function is one call of [Run]. It connects with what the supervisor has put into the environment, and
// calls a function that works until its context ends:
//
//	func main() {
//		worker.Run(func(ctx context.Context, w *worker.Worker) error {
//			for f, err := range w.Frames(ctx) {
//				if err != nil {
//					return err
//				}
//				if bytes.HasPrefix(f.Data, []byte("ALARM")) {
//					if _, err := w.Send(ctx, "siren", []byte("ON")); err != nil {
//						return err
//					}
//				}
//			}
//			return nil
//		})
//	}
//
// It can be started by hand as well, with what `supervisor env` prints in its environment:
//
//	eval "$(supervisor env --role send)"; go run ./siren
//
// What a worker may do depends on its role. Role tap sees what ports receive and can read the history ([Worker.FramesSince]);
// role send sees it live, and may use [Worker.Send], [Worker.Request] and [Worker.Lease].
//
// A Worker can be used by several goroutines at the same time.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

const (
	// answerLimit is how long the gateway may take to answer.
	answerLimit = 5 * time.Second
	// reconnectWait is between attempts to connect again; the broker is on this machine, and back soon.
	reconnectWait = 100 * time.Millisecond
	// refusedLimit is how long a gateway may refuse the credentials when the worker connects again. One that is being
	// replaced may not know them at once.
	refusedLimit = 10 * time.Second
	// drainLimit is how long Close takes to hand out what was received and to send what was published.
	drainLimit = 2 * time.Second
)

// Worker is a connection to a gateway. It lasts until Close: when it breaks, it is made again for as long as that takes.
type Worker struct {
	name     string
	ports    []string
	subjects ipc.Subjects
	nc       *nats.Conn
	notify   notifier
	dog      watchdog

	open     context.Context // until Close, or the connection is lost for good; its cause says why
	close    context.CancelCauseFunc
	inFlight sync.WaitGroup // goroutines of frames and leases

	mu           sync.Mutex // guards all below
	waiters      map[*waiter]struct{}
	back         chan struct{} // closed when the connection is there again
	reconnects   []chan struct{}
	queued       map[string]bool // ports that are known to have a queue
	refusedSince time.Time
}

// errClosed is why a worker does not work any more after Close.
var errClosed = errors.New("worker: the connection is closed")

// Connect connects to the gateway that the environment names. Options come from nats.go and are needed only by programs that
// are started by hand, for example a certificate of the gateway's.
//
// The connection does not end with ctx, which limits only how long connecting may take.
func Connect(ctx context.Context, options ...nats.Option) (*Worker, error) {
	c := ipc.CredentialsFrom(os.Getenv)
	if c.URL == "" {
		return nil, fmt.Errorf(`worker: %s is not set: name this program in the config's workers, or run it after eval "$(supervisor env --role send)"`, ipc.EnvURL)
	}
	if c.InboxPrefix == "" && slices.Contains(ipc.Roles, ipc.Role(c.User)) {
		c.InboxPrefix = "_INBOX_" + c.User // what is answered there, others of the same role do not see
	}
	w := &Worker{
		name: os.Getenv(ipc.EnvWorker), subjects: ipc.Subjects{Root: c.Root},
		waiters: map[*waiter]struct{}{}, back: make(chan struct{}), queued: map[string]bool{},
	}
	if w.name == "" {
		w.name = filepath.Base(os.Args[0])
	}
	if ports := os.Getenv(ipc.EnvPorts); ports != "" {
		w.ports = strings.Split(ports, ",")
	}
	var err error
	if w.notify, w.dog.interval, err = fromNotifyEnviron(os.Getenv, os.Getpid()); err != nil {
		return nil, err
	}
	w.open, w.close = context.WithCancelCause(context.Background())
	if err := w.connect(ctx, c, options); err != nil {
		w.close(err)
		return nil, err
	}
	return w, nil
}

func (w *Worker) connect(ctx context.Context, c ipc.Credentials, options []nats.Option) (err error) {
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(min(nats.DefaultTimeout, max(time.Until(deadline), 1))))
	}
	options = append(options,
		nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectWait, reconnectWait), nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { w.disconnected(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { w.reconnected() }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { w.notReconnected(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { w.denied(err) }),
		nats.ClosedHandler(func(nc *nats.Conn) { w.close(errClosed) }),
		nats.DrainTimeout(drainLimit),
	)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("worker: connect to %s: %w", c.URL, err)
	}
	w.nc, err = c.Connect(w.name, options...)
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return fmt.Errorf("worker: the gateway at %s does not answer; is it running? %w", c.URL, err)
	case errors.Is(err, nats.ErrAuthorization):
		return fmt.Errorf("worker: the gateway at %s does not know user %q with this password; they change with each start of a supervisor, see `supervisor env`: %w", c.URL, c.User, err)
	case err != nil:
		return fmt.Errorf("worker: %w", err)
	}
	return nil
}

// Close lets go of leases, sends what was published, and disconnects. It takes at most some seconds.
func (w *Worker) Close() {
	w.close(errClosed) // whoever waits for frames, or keeps a lease
	w.inFlight.Wait()
	closed := w.nc.StatusChanged(nats.CLOSED)
	if w.nc.Drain() != nil {
		w.nc.Close() // there is no connection at the moment
		return
	}
	select {
	case <-closed:
	case <-time.After(2 * drainLimit):
		w.nc.Close()
	}
}

// Name is the worker's name in the config, or that of the program when it was started by hand.
func (w *Worker) Name() string { return w.name }

// Ports lists the ports that the worker is for. When the config does not narrow them it lists those that the gateway has
// now, or none if the gateway does not say.
func (w *Worker) Ports() []string {
	if len(w.ports) > 0 {
		return slices.Clone(w.ports)
	}
	ctx, cancel := context.WithTimeout(w.open, answerLimit)
	defer cancel()
	s, err := w.status(ctx)
	if err != nil {
		return nil
	}
	return portNames(s)
}

// Conn is the connection to the broker, for what is beyond this package. Close closes it. What is published while it is
// broken is refused.
func (w *Worker) Conn() *nats.Conn { return w.nc }

// Root is what the subjects of this gateway begin with: frames of port gps come on Root() + ".gps.rx".
func (w *Worker) Root() string { return w.subjects.Root }

// status asks the supervisor.
func (w *Worker) status(ctx context.Context) (s ipc.Status, err error) {
	m, err := w.ask(ctx, nats.NewMsg(w.subjects.Status()))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(m.Data, &s)
}

func portNames(s ipc.Status) []string {
	var names []string
	for _, p := range s.Ports {
		names = append(names, p.Name)
	}
	return names
}

// port is the status of one, or ErrUnknownPort.
func (w *Worker) port(ctx context.Context, name string) (p ipc.PortStatus, err error) {
	s, err := w.status(ctx)
	if err != nil {
		return p, fmt.Errorf("port %s: ask for its state: %w", name, err)
	}
	return portOf(s, name)
}

func portOf(s ipc.Status, name string) (ipc.PortStatus, error) {
	for _, p := range s.Ports {
		if p.Name == name {
			return p, nil
		}
	}
	return ipc.PortStatus{}, fmt.Errorf("port %q: %w; there are: %s", name, ErrUnknownPort, strings.Join(portNames(s), ", "))
}
