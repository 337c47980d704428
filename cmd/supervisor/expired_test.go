package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// The broker drops a frame with a TTL by itself and without a word. These tests guard that everybody is told all the same, once.

// told hears what becomes of frames.
type told struct {
	mu   sync.Mutex // guards all
	all  []string   // "sent frame", "expired frame"
	nats *nats.Conn
}

func (g *gateway) hearOutcomes(t *testing.T) *told {
	t.Helper()
	o := &told{nats: g.connect(t, "tap")}
	for _, kind := range []string{"sent", "expired"} {
		_, err := o.nats.Subscribe("serial.*."+kind, func(m *nats.Msg) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.all = append(o.all, kind+" "+strings.TrimRight(string(m.Data), "\n"))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := o.nats.Flush(); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *told) list() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(slices.Values(o.all))
}

// queueMortal queues frames of a port that expire, and returns what is told of them then.
func queueMortal(t *testing.T, nc *nats.Conn, port, ttl string, names ...string) (expired []string) {
	t.Helper()
	for _, name := range names {
		m := &nats.Msg{Subject: "serial." + port + ".tx", Data: []byte(name), Header: nats.Header{"Nats-TTL": {ttl}}}
		if reply, err := nc.RequestMsg(m, patience); err != nil || strings.Contains(string(reply.Data), `"error"`) {
			t.Fatalf("frame %s: %v, %v", name, reply, err)
		}
		expired = append(expired, "expired "+name)
	}
	return expired
}

// wantExpired waits until all is told, by then a last frame too, and fails if anything was told more than once.
func (g *gateway) wantExpired(t *testing.T, o *told, want []string) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("%q is told", want), func() bool { return len(o.list()) >= len(want) })
	queueFrame(t, g.connect(t, "send"), "the end", "")
	want = append(want, "sent the end")
	waitUntil(t, "the last frame is told", func() bool { return slices.Contains(o.list(), "sent the end") })
	if got := o.list(); !slices.Equal(got, want) {
		t.Errorf("told was %q, want %q", got, want)
	}
	if got := g.stored(t, "serial.gps.expired"); len(got) != len(want)-1 {
		t.Errorf("the history has %q", got)
	}
	g.await(t, "they are counted", func(p portNumbers) bool { return p.Tx.Expired == uint64(len(want)-1) && p.Tx.Queued == 0 })
}

// The writer has put them aside for a lease when it dies.
func TestFramesExpireParked(t *testing.T) {
	g := startGateway(t)
	_ = g.hearUntil("never\n")
	o := g.hearOutcomes(t)
	nc := g.connect(t, "send")
	token := acquire(t, nc, `{"action": "acquire", "holder": "lab"}`)
	want := queueMortal(t, nc, "gps", "1s", "a", "b", "c")
	g.await(t, "the broker has dropped them", func(p portNumbers) bool { return p.Tx.Queued == 0 })
	g.killAgainAndAgain(t, "gps/writer", 1)
	waitUntil(t, "they are told", func() bool { return len(o.list()) == len(want) })
	if _, code := askLease(t, nc, `{"action": "release", "token": "`+token+`"}`); code != "" {
		t.Fatalf("release: code %s", code)
	}
	g.wantExpired(t, o, want)
}

// The writer has them in hand behind one that its device does not take, when that is unplugged.
func TestFramesExpireBehindAStuckOne(t *testing.T) {
	g := startPluggable(t)
	g.awaitOpen(t)
	o := g.hearOutcomes(t)
	nc := g.connect(t, "send")
	queueFrame(t, nc, strings.Repeat("f", 60000), "") // more than a terminal takes unread
	want := queueMortal(t, nc, "gps", "1s", "a", "b", "c")
	g.await(t, "the broker has dropped them", func(p portNumbers) bool { return p.Tx.Queued == 1 })
	g.unplug(t)
	waitUntil(t, "they are told", func() bool { return slices.Equal(o.list(), want) })
	g.plugIn(t)
	_ = g.hearUntil("never\n")
	waitUntil(t, "the long one is sent", func() bool { return len(o.list()) == len(want)+1 })
	o.mu.Lock()
	o.all = slices.DeleteFunc(o.all, func(s string) bool { return strings.HasPrefix(s, "sent ff") })
	o.mu.Unlock()
	g.wantExpired(t, o, want)
}

// awaitOpen waits until the port is open.
func (g *pluggable) awaitOpen(t *testing.T) {
	t.Helper()
	g.await(t, "the port is open", func(p portNumbers) bool { return p.State == ipc.Open })
}

// No supervisor runs when their time is over.
func TestFramesExpireWithoutASupervisor(t *testing.T) {
	g := startPluggable(t)
	g.unplug(t)
	missing := func(p portNumbers) bool { return p.State == ipc.Missing }
	g.await(t, "the device is away", missing)
	want := queueMortal(t, g.connect(t, "send"), "gps", "2s", "a", "b", "c")
	over := time.Now().Add(2500 * time.Millisecond)
	g.signal(t, syscall.SIGTERM)
	if <-g.ended; g.err != nil {
		t.Fatal(g.err)
	}
	waitUntil(t, "their time is over", func() bool { return time.Now().After(over) })
	g.program = g.background(t, "run", "--config", filepath.Join(g.dir, "c.yaml"))
	g.await(t, "they are told", func(p portNumbers) bool { return missing(p) && p.Tx.Expired == 3 })
	if got := g.stored(t, "serial.gps.expired"); len(got) != len(want) {
		t.Errorf("the history has %q", got)
	}
	if _, err := os.Stat(filepath.Join(g.dir, "state", "expiring")); !os.IsNotExist(err) {
		t.Errorf("what was passed on is there still: %v", err)
	}
}

// Their device opens in the moment in which their time is over: they are sent or told of as expired.
func TestFramesExpireWhileTheirDeviceOpens(t *testing.T) {
	const ports, rounds = 6, 5
	g := &gateway{dir: t.TempDir(), programs: programs}
	config := "name: test\nbroker: {listen: 127.0.0.1:0}\nports:\n"
	link := func(n int) string { return filepath.Join(g.dir, fmt.Sprint("device-", n)) }
	for n := range ports {
		config += fmt.Sprintf("  p%d: {device: %s}\n", n, link(n))
	}
	if err := os.WriteFile(filepath.Join(g.dir, "c.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.program = g.background(t, "run", "--config", filepath.Join(g.dir, "c.yaml"))
	all := func(state ipc.State) func() bool {
		return func() bool {
			s, err := g.status()
			return err == nil && len(s.Ports) == ports && !slices.ContainsFunc(s.Ports, func(p ipc.PortStatus) bool { return p.State != state })
		}
	}
	waitUntil(t, "all devices are away", all(ipc.Missing))
	o := g.hearOutcomes(t)
	nc := g.connect(t, "send")
	frames := map[string]bool{}
	for round := range rounds {
		begun := time.Now()
		for n := range ports {
			name := fmt.Sprintf("%d-%d", round, n)
			queueMortal(t, nc, fmt.Sprint("p", n), "1s", name)
			frames[name] = true
		}
		var devices []*simulator.Pty
		for n := range ports {
			d, err := simulator.Open()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			devices = append(devices, d)
			at := begun.Add(time.Duration(920+10*n) * time.Millisecond)
			waitUntil(t, "their time is nearly over", func() bool { return time.Now().After(at) })
			if err := d.Link(link(n)); err != nil {
				t.Fatal(err)
			}
		}
		waitUntil(t, "something is told of each", func() bool { return len(o.list()) >= len(frames) })
		for n, d := range devices {
			if err := os.Remove(link(n)); err != nil {
				t.Fatal(err)
			}
			_ = d.Close()
		}
		waitUntil(t, "all devices are away again", all(ipc.Missing))
	}
	once := map[string]bool{}
	for _, what := range o.list() {
		_, name, _ := strings.Cut(what, " ")
		if once[name] {
			t.Errorf("something was told twice: %q", o.list())
		}
		once[name] = true
	}
	if !maps.Equal(once, frames) {
		t.Errorf("told was %q", o.list())
	}
}
