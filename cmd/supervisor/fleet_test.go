package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// startInFleet starts a gateway of a name that is connected with a hub.
func startInFleet(t *testing.T, name, urls string, more ...string) *gateway {
	t.Helper()
	g := newOpenGateway(t)
	g.writeFleet(t, name, urls, more...)
	g.run(t)
	g.awaitLink(t)
	return g
}

// writeFleet writes the config of a gateway with a hub.
func (g *gateway) writeFleet(t *testing.T, name, urls string, more ...string) {
	t.Helper()
	g.write(t, fmt.Sprintf("name: %s\nbroker: {listen: 127.0.0.1:0, leaf: {urls: %s}}\nports: {gps: {device: %s}, away: {device: %s, queue: {max_messages: 100}}}\n%s",
		name, urls, g.device.Path(), filepath.Join(g.dir, "away"), strings.Join(more, "\n")))
}

// awaitLink waits until the gateway is connected with its hub, which has all.
func (g *gateway) awaitLink(t *testing.T) {
	t.Helper()
	g.awaitLeaf(t, "the hub has all", func(l ipc.LeafStatus) bool { return l.Connected && l.Behind == 0 })
}

func (g *gateway) awaitLeaf(t *testing.T, what string, met func(ipc.LeafStatus) bool) {
	t.Helper()
	var last string
	defer func() {
		if t.Failed() {
			t.Log(last, g.errors)
		}
	}()
	waitUntil(t, what, func() bool {
		s, err := g.status()
		last = fmt.Sprintf("leaf %+v, error %v", s.Leaf, err)
		return err == nil && s.Leaf != nil && met(*s.Leaf)
	})
}

// From the hub a gateway looks as it does from its own machine: what it receives comes live and is kept, frames get the queue's real
// answer, requests the device's, and a port that there is not has nobody.
func TestFleet(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	g := startInFleet(t, "gw-1", h.urls("gw-1"))
	live := h.listen(t, "fleet.gw-1.gps.rx")
	if _, err := g.device.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	m, err := live.NextMsg(patience)
	if err != nil {
		t.Fatalf("%v\n%s", err, g.errors)
	}
	local := g.connect(t, "tap")
	js, err := local.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	history, err := js.SubscribeSync("serial.gps.rx", nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	kept, err := history.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := kept.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	place := m.Header.Get("Serial-History-Seq")
	if string(m.Data) != "hello" || m.Header.Get("Nats-Msg-Id") != "gw-1."+kept.Header.Get("Nats-Msg-Id") || m.Header.Get("Serial-Time") != kept.Header.Get("Serial-Time") ||
		!strings.HasSuffix(place, fmt.Sprintf(".%d", meta.Sequence.Stream)) {
		t.Errorf("the hub gets %q with %v, of %v", m.Data, m.Header, kept.Header)
	}
	heard := g.hearUntil("ask\n")
	for _, text := range []string{"to you", "ask"} {
		subject := map[string]string{"to you": "fleet.gw-1.gps.tx", "ask": "fleet.gw-1.gps.request"}[text]
		answered := make(chan error, 1)
		var reply *nats.Msg
		go func() { // waited for below
			var err error
			reply, err = h.admin.Request(subject, []byte(text), patience)
			answered <- err
		}()
		if text == "ask" {
			wantHeard(t, heard, "to you\nask\n", patience)
			if _, err := g.device.Write([]byte("answer\n")); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-answered; err != nil {
			t.Fatalf("%s: %v\n%s", subject, err, g.errors)
		}
		if want := map[string]string{"to you": `"stream":"SERIAL_QUEUE"`, "ask": "answer"}[text]; !strings.Contains(string(reply.Data), want) {
			t.Errorf("%s is answered with %q %v, want %s", subject, reply.Data, reply.Header, want)
		}
	}
	for _, subject := range []string{"fleet.gw-1.nothing.tx", "fleet.gw-1.nothing.request", "fleet.gw-2.gps.tx"} {
		if m, err := h.admin.Request(subject, nil, patience); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s: %v, %v, want no responders", subject, m, err)
		}
	}
	if m, err := h.admin.Request("fleet.gw-1.status", nil, patience); err != nil {
		t.Error(err)
	} else if s := (ipc.Status{}); json.Unmarshal(m.Data, &s) != nil || s.Name != "gw-1" || s.Leaf == nil || !s.Leaf.Connected {
		t.Errorf("its status on the hub is %s", m.Data)
	}
	waitUntil(t, "the hub has what was sent", func() bool { return len(h.stored(t, "fleet.gw-1.gps.sent")) == 2 })
	if out := string(g.mustRun(t, nil, "status")); !strings.Contains(out, "  hub nats://"+h.nodes[0].leaf) {
		t.Errorf("status says nothing of the hub: %s", out)
	}

	// A queue that is full says so on the hub, too.
	var refused string
	waitUntil(t, "the queue is full", func() bool {
		m, err := h.admin.Request("fleet.gw-1.away.tx", []byte("more"), patience)
		if err != nil {
			t.Fatal(err)
		}
		refused = string(m.Data)
		return strings.Contains(refused, "error")
	})
	if !strings.Contains(refused, "10077") {
		t.Errorf("a full queue answers %s", refused)
	}
	waitUntil(t, "the hub has the port's state", func() bool {
		all := h.stored(t, "fleet.gw-1.away.state")
		return len(all) > 0 && strings.Contains(string(all[len(all)-1].Data()), `"missing"`)
	})
}

// A port that a reload brings can be asked from the hub at once.
func TestFleetReload(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	g := startInFleet(t, "gw-1", h.urls("gw-1"))
	g.write(t, fmt.Sprintf("name: gw-1\nbroker: {listen: 127.0.0.1:0, leaf: {urls: %s}}\nports: {gps: {device: %s}, more: {device: %s/x}}\n", h.urls("gw-1"), g.device.Path(), g.dir))
	g.reload(t)
	waitUntil(t, "the new port takes frames", func() bool {
		_, err := h.admin.Request("fleet.gw-1.more.tx", []byte("x"), time.Second)
		return err == nil
	})
}

// A hub that is not set up is told of, once, with what it lacks; the gateway works, and the hub gets all when it is.
func TestFleetWithoutStream(t *testing.T) {
	t.Parallel()
	h := newHub(t, 1, "gw-1")
	g := newOpenGateway(t)
	g.writeFleet(t, "gw-1", h.urls("gw-1"))
	g.run(t)
	waitUntil(t, "the log tells", func() bool { return strings.Contains(g.errors.String(), "stream FLEET does not answer") })
	if _, err := g.device.Write([]byte("line 0\n")); err != nil {
		t.Fatal(err)
	}
	g.awaitLines(t, 1)
	g.awaitLeaf(t, "status tells", func(l ipc.LeafStatus) bool { return l.Connected && l.Behind > 0 && l.Error != "" })
	h.createStream(t)
	h.awaitLines(t, "gw-1", 1)
	g.awaitLeaf(t, "all is well", func(l ipc.LeafStatus) bool { return l.Behind == 0 && l.Error == "" })
	if n := strings.Count(g.errors.String(), "the hub does not get what happens"); n != 1 {
		t.Errorf("there are %d warnings:\n%s", n, g.errors)
	}
}

// Without a history the hub hears what happens while it happens.
func TestFleetWithoutHistory(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	g := newOpenGateway(t)
	g.writeFleet(t, "gw-1", h.urls("gw-1"), "history: {storage: none}")
	g.run(t)
	live := h.listen(t, "fleet.gw-1.gps.rx")
	waitUntil(t, "the hub hears the device", func() bool {
		if _, err := g.device.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		m, err := live.NextMsg(100 * time.Millisecond)
		return err == nil && string(m.Data) == "hello"
	})
}

// A gateway that the hub does not let in says so in its status, and in its log once.
func TestFleetRefused(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	g := newOpenGateway(t)
	g.writeFleet(t, "gw-1", strings.Replace(h.urls("gw-1"), "secret", "wrong", 1))
	g.run(t)
	g.awaitLeaf(t, "status tells", func(l ipc.LeafStatus) bool {
		return !l.Connected && strings.Contains(l.Error, "Authorization Violation") && strings.Contains(l.Error, "broker.leaf.urls")
	})
	if _, err := g.device.Write([]byte("line 0\n")); err != nil {
		t.Fatal(err)
	}
	g.awaitLines(t, 1)
	refused := func() int { return strings.Count(h.nodes[0].log.String(), "authentication error") }
	waitUntil(t, "it has tried several times", func() bool { return refused() >= 3 })
	if n := strings.Count(g.errors.String(), "Authorization Violation"); n != 1 {
		t.Errorf("the log tells %d times:\n%s", n, g.errors)
	}
}

// A hub with TLS is believed by its certificate, and believes the gateway by its key.
func TestFleetTLS(t *testing.T) {
	t.Parallel()
	g := newOpenGateway(t)
	a := newAuthority(t, g.dir)
	a.issue(t, "hub")
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err == nil {
		err = os.WriteFile(filepath.Join(g.dir, "gw.nkey"), seed, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t, 1)
	path := filepath.Join(h.nodes[0].dir, "hub.conf")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "isolate_leafnode_interest: true", fmt.Sprintf("isolate_leafnode_interest: true, tls {cert_file: %q, key_file: %q}", g.dir+"/hub.pem", g.dir+"/hub.key"), 1)
	text = strings.Replace(text, "users: [", fmt.Sprintf("users: [{nkey: %s}, ", public), 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.nodes[0].kill()
	h.nodes[0].start(t)
	h.createStream(t)
	write := func(ca string) {
		g.write(t, fmt.Sprintf("name: gw-1\nbroker: {listen: 127.0.0.1:0, leaf: {urls: [\"tls://%s\"], credentials: gw.nkey%s}}\nports: {gps: {device: %s}}\n", h.nodes[0].leaf, ca, g.device.Path()))
		g.run(t)
	}
	write("")
	g.awaitLeaf(t, "status tells whom it does not trust", func(l ipc.LeafStatus) bool { return strings.Contains(l.Error, "broker.leaf.ca") })
	g.stop(t, 0, syscall.SIGTERM)
	write(", ca: ca.pem")
	g.awaitLink(t)
	if _, err := g.device.Write([]byte("line 0\n")); err != nil {
		t.Fatal(err)
	}
	h.awaitLines(t, "gw-1", 1)
}
