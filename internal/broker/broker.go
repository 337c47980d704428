// Package broker runs the NATS server inside the supervisor: its accounts, who may do what in them, and the streams behind the
// queue and the history.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Options say how to run a broker.
type Options struct {
	Name      string // of the gateway
	Listen    string // host:port; port 0 takes a free one
	Inside    string // where this machine's programs connect to when clients need TLS; empty or taken: at a free port
	TLS       TLS
	WebSocket string   // host:port; empty: nowhere
	Origins   []string // of pages that may use it; none: those of its own host
	MQTT      string   // host:port; empty: nowhere
	Leaf      *Leaf    // nil: there is no hub
	StateDir  string   // the store goes below it
	Root      string   // of the gateway's subjects
	History   History
	Queues    []Queue // of all ports, also those with none
	MaxFrame  int     // longest frame of any port, in bytes
	// Users, if set, are let in from the start: a client that finds its way back must not be refused.
	Users func(*Broker) ([]Grant, error)
	Log   *slog.Logger
}

// Broker is a running server. Its methods may be called from any goroutine.
type Broker struct {
	opts     Options
	subjects ipc.Subjects
	server   *server.Server
	log      *serverLog
	url      string

	traffic, control *nats.Conn // the supervisor's own connections
	fleet            *nats.Conn // the same; nil: there is no hub
	js               jetstream.JetStream
	plan             atomic.Pointer[[]stream] // the streams of the queue
	queues           atomic.Pointer[[]Queue]  // of the ports
	history          atomic.Pointer[History]
	store            store
	before           contents // of the history when this run began; after Start only Watch uses it

	certificates *certificates // nil: clients need no TLS
	homes        homes
	gate         gate
	hashed       hashed
	nameless     nameless
	inside       net.Listener   // for this machine's programs; nil: they connect as others do
	bridges      sync.WaitGroup // goroutines of local connections
	laggards     laggards
	usualGC      int // percent, while there is more than usual; Watch's

	mu      sync.Mutex // guards all below
	users   map[string]Grant
	handles map[string]jetstream.Stream // by name
	unused  map[string]bool             // ports whose consumers no writer has had
	offered map[string]bool             // subjects on the hub
}

// ErrListen is wrapped by the error of Start when the address cannot be had, and ErrListenOutside when that for browsers or MQTT
// cannot.
var (
	ErrListen        = errors.New("the broker cannot listen")
	ErrListenOutside = errors.New("the broker cannot listen for others")
)

// Start runs a broker until Shutdown. The users that it knows are those that Grant has let in.
func Start(ctx context.Context, opts Options) (_ *Broker, err error) {
	b := &Broker{opts: opts, subjects: ipc.Subjects{Root: opts.Root}, users: map[string]Grant{}, handles: map[string]jetstream.Stream{}, unused: map[string]bool{}, offered: map[string]bool{}}
	b.log = newServerLog(opts.Log, &b.laggards)
	b.gate.history, b.gate.root = b.subjects.History(), b.subjects.Root
	b.store.state = ipc.StoreOK
	b.history.Store(&opts.History)
	traffic, control := b.ownUsers()
	// The server reports an address in use through its log only, so it is tried first.
	address, err := probe(opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w; set broker.listen to another address, or to port 0 for a free one", ErrListen, opts.Listen, cause(err))
	}
	if err := errors.Join(probeOutside("websocket", opts.WebSocket), probeOutside("mqtt", opts.MQTT)); err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(opts.Listen)
	b.opts.Listen = net.JoinHostPort(host, fmt.Sprint(address.Port))
	b.url = "nats://" + address.String()
	if address.IP.IsUnspecified() {
		b.url = fmt.Sprintf("nats://127.0.0.1:%d", address.Port)
	}
	b.setPlan(opts.Queues, planQueues(b.subjects, opts.Queues))
	if opts.Users != nil {
		users, err := opts.Users(b)
		if err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
		b.Grant(users...)
	}
	if err := b.settleHistory(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if b.certificates, err = newCertificates(opts.TLS, opts.Log); err != nil {
		return nil, err
	}
	options, err := b.serverOptions()
	if err != nil {
		return nil, err
	}
	if b.server, err = server.NewServer(options); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b.server.SetLoggerV2(b.log, false, false, false)
	b.server.Start()
	defer func() {
		if err != nil {
			b.Shutdown()
		}
	}()
	if err := b.awaitReady(); err != nil {
		return nil, err
	}
	if b.certificates != nil {
		if err := b.listenInside(); err != nil {
			return nil, err
		}
	}
	if b.traffic, err = b.connect(traffic); err != nil {
		return nil, err
	}
	if b.control, err = b.connect(control); err != nil {
		return nil, err
	}
	if err := b.startLeaf(); err != nil {
		return nil, err
	}
	if b.js, err = jetstream.New(b.control); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := b.createStreams(ctx); err != nil {
		return nil, b.orFull(err)
	}
	if b.before, err = b.lookIntoHistory(ctx); err != nil {
		return nil, err
	}
	if err := b.learnOwners(ctx); err != nil {
		return nil, err
	}
	return b, b.keepGate()
}

// readyLimit is how long the server may take to listen.
const readyLimit = 10 * time.Second

// awaitReady waits until the server listens, or says why it cannot.
func (b *Broker) awaitReady() error {
	for begun := time.Now(); !b.server.ReadyForConnections(readyLimit / 100); {
		if fatal := b.log.Fatal(); fatal != "" {
			return b.orFull(fmt.Errorf("start broker: %s", fatal))
		}
		if time.Since(begun) > readyLimit {
			return fmt.Errorf("start broker: not ready after %s", readyLimit)
		}
	}
	return nil
}

// URL is where clients on this machine connect to.
func (b *Broker) URL() string { return b.url }

// Address is where the broker listens, with the host as in Options.
func (b *Broker) Address() string { return b.opts.Listen }

// Inside is where this machine's programs connect to, if that is not where others do.
func (b *Broker) Inside() string {
	if b.inside == nil {
		return ""
	}
	return b.inside.Addr().String()
}

// Traffic is the supervisor's own connection to the account of readers, taps and the history.
func (b *Broker) Traffic() *nats.Conn { return b.traffic }

// Control is the supervisor's own connection to the account of the queue, writers, senders and admins.
func (b *Broker) Control() *nats.Conn { return b.control }

// Connect lets a user in and opens a connection for it, without a socket.
func (b *Broker) Connect(g Grant) (*nats.Conn, error) {
	b.Grant(g)
	return b.connect(g)
}

// Shutdown closes the store and all connections. It is safe to call twice.
func (b *Broker) Shutdown() {
	for _, nc := range []*nats.Conn{b.traffic, b.control, b.fleet} {
		if nc != nil {
			nc.Close()
		}
	}
	if b.inside != nil {
		_ = b.inside.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
	b.bridges.Wait()
}

// connect opens a connection of the supervisor's own, without a socket.
func (b *Broker) connect(g Grant, more ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append([]nats.Option{
		nats.InProcessServer(b.server), nats.UserInfo(g.Name, g.Password), nats.Name("supervisor"), nats.CustomInboxPrefix(g.inbox()), nats.MaxReconnects(-1),
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to own broker as %s: %w", g.Name, err)
	}
	return nc, nil
}

// serverOptions builds the server's configuration.
func (b *Broker) serverOptions() (*server.Options, error) {
	host, port, err := hostPort(b.opts.Listen)
	if err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName: b.opts.Name, Host: host, Port: port, NoSigs: true,
		JetStream: true, StoreDir: b.storeDir(),
		JetStreamMaxStore: b.storeLimit(), JetStreamMaxMemory: b.storeLimit(),
		SyncInterval: b.opts.History.Sync, SyncAlways: b.opts.History.SyncAlways,
		MaxPayload: int32(max(server.MAX_PAYLOAD_SIZE, b.opts.MaxFrame+headerRoom)),
		// Nobody waits for a client that does not read; see cutLaggards.
		MaxPending: b.maxPending(), NoFastProducerStall: true,
		MaxConn: mostConnections(), MaxSubs: mostSubscriptions,
		PingInterval:           pingEach,
		AuthTimeout:            authLimit.Seconds(),
		DisableJetStreamBanner: true, CustomClientAuthentication: b,
	}
	if err := o.ProcessConfigString(b.accounts()); err != nil {
		return nil, fmt.Errorf("configure broker: %w", err)
	}
	return o, errors.Join(b.addOutside(o), b.addLeaf(o))
}

// pingEach is how often clients are asked whether they live, of which hundreds of idle workers take notice, too.
const pingEach = 2 * time.Minute

const (
	// mostAtHome is how many connections there may be of one user.
	mostAtHome = 1000
	// mostSubscriptions is how many there may be of one connection.
	mostSubscriptions = 10_000
)

// mostConnections is how many there may be in all: whoever opens them must leave descriptors for devices and workers.
func mostConnections() int {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
		return server.DEFAULT_MAX_CONNECTIONS
	}
	return int(min(files.Cur/2, server.DEFAULT_MAX_CONNECTIONS))
}

// authLimit is how long a client may take to say who it is. A machine that starts hundreds of workers is slow.
const authLimit = 5 * time.Second

// headerRoom is added to the longest frame for headers and acknowledgement subjects.
const headerRoom = 4 << 10

// cause is what the operating system said, without Go's "listen tcp 127.0.0.1:4222: bind:".
func cause(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}
