package publish_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/printout"
	"github.com/serialvisor/serialvisor/internal/publish"
)

// bench is a broker, a stream on the subject "s" unless a test makes its own, and a connection.
type bench struct {
	server *server.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *printout.Output
}

func newBench(t *testing.T, config *jetstream.StreamConfig) *bench {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker did not start in 10 s")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{server: s, nc: nc, js: js, log: new(printout.Output)}
	if config != nil {
		b.create(t, *config)
	}
	return b
}

func (b *bench) create(t *testing.T, config jetstream.StreamConfig) {
	t.Helper()
	config.Name, config.Subjects = "S", []string{"s"}
	if _, err := b.js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// publisher is one that runs until the test ends.
func (b *bench) publisher(t *testing.T, stored func(uint64), options ...publish.Option) *publish.Publisher {
	t.Helper()
	p, err := publish.New(b.nc, slog.New(slog.NewTextHandler(b.log, nil)), stored, options...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

func message(n int) *nats.Msg {
	return &nats.Msg{Subject: "s", Data: []byte(fmt.Sprint(n)), Header: nats.Header{"Nats-Msg-Id": {fmt.Sprint(n)}}}
}

func flush(t *testing.T, p *publish.Publisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// wantStored checks that the stream has the messages 0 to count-1 in order, each once.
func (b *bench) wantStored(t *testing.T, count int) {
	t.Helper()
	stream, err := b.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if n := int(stream.CachedInfo().State.Msgs); n != count {
		t.Errorf("the stream has %d messages, want %d", n, count)
	}
	for i := range count {
		m, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Data)
		}
	}
}

func TestPublisherStoresMoreThanItsWindow(t *testing.T) {
	b := newBench(t, &jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	var mark atomic.Uint64
	p := b.publisher(t, mark.Store)
	const count = 10000
	for i := range count {
		if err := p.Publish(t.Context(), message(i), uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, p)
	if mark.Load() != count {
		t.Errorf("told that all up to mark %d is stored, want %d", mark.Load(), count)
	}
	b.wantStored(t, count)
}

func TestPublisherRepeatsAfterReconnect(t *testing.T) {
	b := newBench(t, &jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	p := b.publisher(t, nil)
	reconnected := make(chan struct{}, 16)
	b.nc.SetReconnectHandler(func(*nats.Conn) { p.Resend(); reconnected <- struct{}{} })
	const count = 300
	for i := range count {
		if i == 100 {
			id, err := b.nc.GetClientID()
			if err != nil {
				t.Fatal(err)
			}
			if err := b.server.DisconnectClientByID(id); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Publish(t.Context(), message(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-reconnected:
	case <-time.After(30 * time.Second):
		t.Fatal("the connection did not come back")
	}
	flush(t, p)
	stream, err := b.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != count {
		t.Errorf("the stream has %d messages, want %d: some are lost or doubled", n, count)
	}
}

func TestPublisherWaitsForAStream(t *testing.T) {
	b := newBench(t, nil)
	p := b.publisher(t, nil)
	if err := p.Publish(t.Context(), message(0), 0); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Flush(short); err == nil {
		t.Fatal("Flush returned without an error although no stream has stored the message")
	}
	b.create(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	flush(t, p)
	b.wantStored(t, 1)
	for _, want := range []string{"a stream does not store, trying again", "the stream stores again"} {
		if n := strings.Count(b.log.String(), want); n != 1 {
			t.Errorf("the log says %d times %q, want once:\n%s", n, want, b.log)
		}
	}
}

func TestPublisherGivesUpWhatIsTooLong(t *testing.T) {
	b := newBench(t, &jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgSize: 100})
	p := b.publisher(t, nil)
	if err := p.Publish(t.Context(), &nats.Msg{Subject: "s", Data: make([]byte, 200)}, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), message(0), 0); err != nil {
		t.Fatal(err)
	}
	flush(t, p)
	b.wantStored(t, 1)
	if want := "too long for its stream"; !strings.Contains(b.log.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, b.log)
	}
	// What the server would never take is told to the caller.
	if err := p.Publish(t.Context(), &nats.Msg{Subject: "s", Data: make([]byte, 2<<20)}, 0); err == nil {
		t.Error("a message beyond the server's limit was taken")
	}
	flush(t, p)
}

func TestPublisherWaitsWithTheCaller(t *testing.T) {
	b := newBench(t, nil)
	p := b.publisher(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	for i := range 1 << 20 {
		if err := p.Publish(ctx, message(i), 0); err != nil {
			if ctx.Err() == nil {
				t.Fatal(err)
			}
			return // the window was full, and the caller was held up until its context ended
		}
	}
	t.Error("a million messages were taken although none is stored")
}
