package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

var limits = broker.Limits{MaxMessages: 100}

// options are those of a gateway with the ports gps and echo, in a folder of its own.
func options(t *testing.T) broker.Options {
	return broker.Options{
		Name: "test", Listen: "127.0.0.1:0", StateDir: t.TempDir(), Root: "serial", MaxFrame: 4096,
		History: broker.History{MaxAge: time.Hour, MaxBytes: 1 << 30, Sync: 2 * time.Second},
		Queues:  []broker.Queue{{Port: "gps", Limits: limits, MaxFrame: 4096}, {Port: "echo", Limits: limits, MaxFrame: 4096}},
		Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func start(t *testing.T, o broker.Options) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	rewindAll(t, b, o.Queues)
	return b
}

// rewindAll does as starts of writers do.
func rewindAll(t *testing.T, b *broker.Broker, queues []broker.Queue) {
	t.Helper()
	for _, q := range queues {
		rewind(t, b, q.Port)
	}
}

// connect is a client with a grant.
func connect(t *testing.T, b *broker.Broker, g broker.Grant) *nats.Conn {
	t.Helper()
	b.Grant(g)
	nc, err := b.Credentials(g).Connect("test", nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func stream(t *testing.T, nc *nats.Conn, name string) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// queue publishes frames for a port and waits until each is stored.
func queue(t *testing.T, b *broker.Broker, port string, frames ...string) {
	t.Helper()
	js, err := jetstream.New(b.Control())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if _, err := js.Publish(t.Context(), "serial."+port+".tx", []byte(f)); err != nil {
			t.Fatal(err)
		}
	}
}

// fetch takes frames as a port's writer does, without an acknowledgement.
func fetch(t *testing.T, b *broker.Broker, port string, count int) []string {
	t.Helper()
	target := b.Target(port)
	consumer, err := stream(t, b.Control(), target.Stream).Consumer(t.Context(), target.Consumer)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(count, jetstream.FetchMaxWait(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for m := range batch.Messages() {
		got = append(got, string(m.Data()))
	}
	if err := batch.Error(); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestRights tries what each user may and may not do, with its real connection.
func TestRights(t *testing.T) {
	b := start(t, options(t))
	gps := b.Target("gps")
	reader := b.ReaderGrants("gps", []ipc.Target{b.Target("echo")})
	writer := b.WriterGrants(gps)
	tap, send, admin := b.RoleGrant(ipc.RoleTap), b.RoleGrant(ipc.RoleSend), b.RoleGrant(ipc.RoleAdmin)
	for _, c := range []struct {
		who       broker.Grant
		publish   []string
		subscribe []string
		not       []string // to publish
		deaf      []string // not to subscribe
	}{
		{
			who: tap, publish: []string{"serial.supervisor.status", "$JS.API.STREAM.INFO.SERIAL_HISTORY"},
			subscribe: []string{"serial.*.rx", "serial.gps.sent", "serial.gps.state", "_INBOX.abc", "serial.>", "serial.gps.*"},
			not: []string{
				"serial.gps.tx", "serial.gps.request", "serial.gps.lease", "serial.gps.rx", "serial.gps.sent", "serial.gps.state", "serial.supervisor.reload", "anything",
				"$JS.API.STREAM.DELETE.SERIAL_HISTORY", "$JS.API.STREAM.PURGE.SERIAL_HISTORY", "$JS.API.STREAM.UPDATE.SERIAL_HISTORY",
				"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.MSG.DELETE.SERIAL_HISTORY", "$SYS.REQ.SERVER.PING", "_INBOX_send.x",
			},
			deaf: []string{">", "*.gps.rx", "serial.gps.rx.again", "serial.gps.tx", "_INBOX_send.>", "_INBOX_gps_reader.>", "$SYS.>", "$JS.>"},
		},
		{
			who: send, publish: []string{"serial.gps.tx", "serial.echo.tx", "serial.gps.request", "serial.gps.lease"}, subscribe: []string{"serial.gps.rx"},
			not:  []string{"serial.gps.rx", "serial.gps.sent", "serial.gps.leased", "serial.supervisor.reload", "$JS.API.STREAM.PURGE.SERIAL_QUEUE", "$JS.API.CONSUMER.MSG.NEXT.SERIAL_QUEUE.gps", "$JS.API.CONSUMER.CREATE.SERIAL_QUEUE"},
			deaf: []string{"serial.gps.tx", "serial.gps.request", ">", "$JS.>"},
		},
		{
			who: admin, publish: []string{"serial.gps.tx", "serial.gps.request", "serial.gps.lease", "serial.supervisor.reload", "$JS.API.STREAM.INFO.SERIAL_QUEUE"},
			not:  []string{"serial.gps.rx", "$JS.API.STREAM.DELETE.SERIAL_QUEUE", "$JS.API.STREAM.CREATE.MINE"},
			deaf: []string{"serial.gps.tx", ">"},
		},
		{
			who: reader[0], publish: []string{"serial.gps.rx", "serial.gps.rx.again"},
			not:  []string{"serial.echo.rx", "serial.echo.rx.again", "serial.gps.sent", "serial.gps.tx", "$JS.API.STREAM.INFO.SERIAL_HISTORY"},
			deaf: []string{"serial.gps.rx", "serial.>", "_INBOX.>", "_INBOX_gps_writer.>"},
		},
		{
			who: reader[1], publish: []string{"serial.echo.tx", "$JS.API.CONSUMER.INFO.SERIAL_QUEUE.echo"},
			not: []string{"serial.gps.tx", "$JS.API.CONSUMER.MSG.NEXT.SERIAL_QUEUE.echo"}, deaf: []string{"serial.echo.tx"},
		},
		{
			who: writer[0], publish: []string{"$JS.API.CONSUMER.MSG.NEXT.SERIAL_QUEUE.gps", "$JS.ACK.SERIAL_QUEUE.gps.1.1.1.1.1"}, subscribe: []string{"serial.gps.request", "serial.gps.leased"},
			not:  []string{"serial.gps.tx", "serial.echo.request", "_INBOX.x", "$JS.API.CONSUMER.MSG.NEXT.SERIAL_QUEUE.echo", "$JS.ACK.SERIAL_QUEUE.echo.1.1.1.1.1"},
			deaf: []string{"serial.gps.tx", "serial.echo.tx", "serial.echo.request"},
		},
		{
			who: writer[1], publish: []string{"serial.gps.sent", "serial.gps.expired", "serial.gps.sent.again", "serial.gps.expired.again"},
			not: []string{"serial.gps.rx", "serial.echo.sent", "serial.gps.state"}, deaf: []string{"serial.gps.rx"},
		},
	} {
		t.Run(strings.ReplaceAll(c.who.Name, "/", "-"), func(t *testing.T) {
			nc := connect(t, b, c.who)
			// A refusal comes before the answer to Flush, and names what was tried.
			attempt := func(what, subject string, allowed bool, do func() error) {
				t.Helper()
				if err := do(); err != nil {
					t.Fatal(err)
				}
				if err := nc.FlushTimeout(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				err := nc.LastError()
				refused := errors.Is(err, nats.ErrPermissionViolation) && (strings.Contains(err.Error(), what+` to "`+subject+`"`) || strings.Contains(err.Error(), what+` to "$FORGED.`+subject+`"`))
				if refused == allowed {
					t.Errorf("%s to %s: allowed %t, want %t (last error %v)", what, subject, !refused, allowed, err)
				}
			}
			publish := func(subject string, allowed bool) {
				attempt("Publish", subject, allowed, func() error { return nc.Publish(subject, nil) })
			}
			subscribe := func(subject string, allowed bool) {
				attempt("Subscription", subject, allowed, func() error {
					_, err := nc.Subscribe(subject, func(*nats.Msg) {})
					return err
				})
			}
			for _, s := range c.publish {
				publish(s, true)
			}
			for _, s := range c.not {
				publish(s, false)
			}
			for _, s := range append(slices.Clone(c.subscribe), nc.NewRespInbox()) {
				subscribe(s, true)
			}
			for _, s := range c.deaf {
				subscribe(s, false)
			}
		})
	}
}

func TestATapCannotHaveTheServerWriteForIt(t *testing.T) {
	b := start(t, options(t))
	nc := connect(t, b, b.RoleGrant(ipc.RoleTap))
	// The server answers this request, and would put the answer on a reply subject that leads to a device.
	if err := nc.PublishRequest("$JS.API.STREAM.INFO.SERIAL_HISTORY", "serial.gps.tx", nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("serial.supervisor.status", "serial.gps.tx", nil); err != nil {
		t.Fatal(err)
	}
	// A request that comes back shows that the two before it were served.
	if _, err := nc.Request("$JS.API.STREAM.INFO.SERIAL_HISTORY", nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Queued(t.Context(), "gps"); err != nil || n != 0 {
		t.Errorf("%d frames (error %v) were queued for the device by somebody who may only watch", n, err)
	}
}

func TestStrangersAreKeptOut(t *testing.T) {
	b := start(t, options(t))
	tap := b.RoleGrant(ipc.RoleTap)
	b.Grant(tap)
	good := b.Credentials(tap)
	for name, c := range map[string]ipc.Credentials{
		"no name":         {URL: good.URL},
		"unknown user":    {URL: good.URL, User: "root", Password: good.Password},
		"wrong password":  {URL: good.URL, User: good.User, Password: good.Password + "x"},
		"empty password":  {URL: good.URL, User: good.User},
		"own, no passwrd": {URL: good.URL, User: "supervisor-traffic"},
	} {
		if nc, err := c.Connect("stranger", nats.NoReconnect()); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: connected with error %v, want an authorization error", name, err)
			if nc != nil {
				nc.Close()
			}
		}
	}
}

func TestRevokeCutsOneUserOff(t *testing.T) {
	b := start(t, options(t))
	cut, stays := b.RoleGrant(ipc.RoleTap), b.RoleGrant(ipc.RoleSend)
	closed := make(chan struct{})
	gone := connect(t, b, cut)
	gone.SetClosedHandler(func(*nats.Conn) { close(closed) })
	other := connect(t, b, stays)
	if err := b.Revoke(cut.Name); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("a user that was thrown out is still connected")
	}
	if _, err := b.Credentials(cut).Connect("again", nats.NoReconnect()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("it connects again: %v", err)
	}
	if err := other.FlushTimeout(10 * time.Second); err != nil {
		t.Errorf("another user was disturbed: %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	o := options(t)
	o.Listen = l.Addr().String()
	_, err = broker.Start(t.Context(), o)
	if !errors.Is(err, broker.ErrListen) || !strings.Contains(fmt.Sprint(err), o.Listen) {
		t.Errorf("Start = %v, want ErrListen that names %s", err, o.Listen)
	}
}

func TestRewindDeliversInOrderAgain(t *testing.T) {
	b := start(t, options(t))
	queue(t, b, "gps", "a", "b", "c")
	if got := fetch(t, b, "gps", 2); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("fetched %q", got)
	}
	before, err := b.RewindQueue(t.Context(), "gps")
	if err != nil {
		t.Fatal(err)
	}
	if after, err := b.RewindQueue(t.Context(), "gps"); err != nil || after != before || after == 0 {
		t.Errorf("the queue is named %d, and then %d, error %v", before, after, err)
	}
	if got := fetch(t, b, "gps", 3); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("after a writer's death its successor gets %q, want a b c", got)
	}
}

func TestQueueSurvivesARestartWithOtherLimits(t *testing.T) {
	o := options(t)
	o.Queues = append(o.Queues, broker.Queue{Port: "plc", Limits: limits, MaxFrame: 4096})
	first := start(t, o)
	queue(t, first, "gps", "a", "b", "c")
	queue(t, first, "echo", "x")
	first.Shutdown()

	o.Queues[0].Limits.MaxMessages = 50 // gps moves to a stream of its own
	second := start(t, o)
	if got := second.Target("gps").Stream; got == first.Target("gps").Stream {
		t.Fatalf("the test is wrong: gps stays in %s", got)
	}
	if got := fetch(t, second, "gps", 3); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("gps has %q waiting, want a b c", got)
	}
	if got := fetch(t, second, "echo", 1); !slices.Equal(got, []string{"x"}) {
		t.Errorf("echo has %q waiting, want x", got)
	}
	second.Shutdown()

	o.Queues = o.Queues[1:] // gps is not configured for a while
	third := start(t, o)
	third.Shutdown()
	o.Queues = append(o.Queues, broker.Queue{Port: "gps", Limits: limits, MaxFrame: 4096})
	fourth := start(t, o)
	if got := fetch(t, fourth, "gps", 3); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("after its port was away for a while gps has %q waiting, want a b c", got)
	}
}

func TestHistoryCanBeSwitchedOff(t *testing.T) {
	o := options(t)
	on := start(t, o)
	if err := on.PublishState("gps", []byte(`{}`), time.Now()); err != nil {
		t.Fatal(err)
	}
	wait(t, func() error {
		info, err := stream(t, on.Traffic(), "SERIAL_HISTORY").Info(t.Context())
		if err == nil && info.State.Msgs != 1 {
			err = fmt.Errorf("the history has %d messages, want 1", info.State.Msgs)
		}
		return err
	})
	on.Shutdown()
	o.History.Off = true
	off := start(t, o)
	if err := off.PublishState("gps", []byte(`{}`), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := off.Traffic().FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if info := stream(t, off.Traffic(), "SERIAL_HISTORY").CachedInfo(); info.State.Msgs != 1 {
		t.Errorf("the history has %d messages after it was switched off, want the 1 of before", info.State.Msgs)
	}
}

// wait tries something until it works, for 30 seconds.
func wait(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
