package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// enoughBehind is for how many messages an outage lasts in a test.
const enoughBehind = 500

// The link is cut under traffic, and the hub has each line once and in order when it is back.
func TestFleetLinkCut(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	p := startProxy(t, h.nodes[0].leaf)
	g := startInFleet(t, "gw-1", p.url("gw-1"))
	stop := g.sayLines(1) // 200 a second, which a busy machine takes with the race detector, too
	for range 3 {
		p.cut()
		g.awaitLeaf(t, "the hub is behind", func(l ipc.LeafStatus) bool { return !l.Connected && l.Behind > enoughBehind })
		p.restore()
		back := time.Now()
		g.awaitLeaf(t, "the hub catches up", func(l ipc.LeafStatus) bool { return l.Connected && l.Behind < 50 })
		t.Logf("the hub has caught up %s after the link was back", time.Since(back).Round(10*time.Millisecond))
	}
	h.awaitLines(t, "gw-1", stop())
}

// A link on which everything vanishes without a word is noticed, with traffic and without.
func TestFleetBlackHole(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	p := startProxy(t, h.nodes[0].leaf)
	g := startInFleet(t, "gw-1", p.url("gw-1"))
	said := 0
	for _, traffic := range []bool{false, true} {
		stop := func() int { return said }
		if traffic {
			stop = g.sayLines(1)
		}
		p.swallow()
		gone := time.Now()
		g.awaitLeaf(t, "the gateway notices", func(l ipc.LeafStatus) bool { return !l.Connected })
		if took := time.Since(gone); took > 15*time.Second {
			t.Errorf("traffic %t: the gateway notices after %s", traffic, took)
		} else {
			t.Logf("traffic %t: the gateway notices after %s", traffic, took.Round(10*time.Millisecond))
		}
		p.restore()
		said = stop()
		h.awaitLines(t, "gw-1", said)
		g.awaitLink(t)
	}
}

// Servers of a hub of three are killed under traffic: the one that leads the stream, and the one that the gateway is connected with.
func TestFleetHubNodeKilled(t *testing.T) {
	t.Parallel()
	h := startHub(t, 3, "gw-1")
	g := startInFleet(t, "gw-1", h.urls("gw-1"))
	stop := g.sayLines(1)
	grows := func(what string) {
		t.Helper()
		begun := time.Now()
		before := h.count(t, "fleet.gw-1.gps.rx")
		waitUntil(t, what, func() bool { return h.count(t, "fleet.gw-1.gps.rx") > before+100 })
		t.Logf("%s after %s", what, time.Since(begun).Round(10*time.Millisecond))
	}
	grows("traffic passes")
	for _, victim := range []string{"leader", "neighbour"} {
		i := h.leader(t)
		if victim == "neighbour" {
			i = h.neighbour(t, g)
		}
		h.nodes[i].kill()
		grows("traffic is back without the " + victim)
		h.nodes[i].start(t)
		waitUntil(t, "the servers are in step", func() bool { return h.inStep(t) })
		grows("traffic passes")
	}
	count := stop()
	h.awaitLines(t, "gw-1", count)
	g.awaitLink(t)
}

// leader is the server that leads the stream.
func (h *hub) leader(t *testing.T) (node int) {
	t.Helper()
	waitUntil(t, "the stream has a leader", func() bool {
		s, err := h.js.Stream(t.Context(), "FLEET")
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		_, err = fmt.Sscanf(s.CachedInfo().Cluster.Leader, "hub-%d", &node)
		return err == nil
	})
	return node
}

// neighbour is the server that a gateway is connected with.
func (h *hub) neighbour(t *testing.T, g *gateway) (node int) {
	t.Helper()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range h.nodes {
		if s.Leaf.URL == "nats://"+n.leaf {
			return i
		}
	}
	t.Fatalf("the gateway is connected with %s", s.Leaf.URL)
	return 0
}

// inStep says whether all servers have what the stream holds.
func (h *hub) inStep(t *testing.T) bool {
	t.Helper()
	s, err := h.js.Stream(t.Context(), "FLEET")
	if err != nil || s.CachedInfo().Cluster == nil {
		return false
	}
	current := 0
	for _, r := range s.CachedInfo().Cluster.Replicas {
		if r.Current && !r.Offline {
			current++
		}
	}
	return current == len(h.nodes)-1
}

// The supervisor is killed, stopped and upgraded under traffic. The hub remembers ids for a moment only, so that nothing but what
// the gateway asks it keeps anything from being stored twice.
func TestFleetSupervisorKilled(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	s, err := h.js.Stream(t.Context(), "FLEET")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.Duplicates = 100 * time.Millisecond
	if _, err := h.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	g := newOpenGateway(t)
	g.manager = startManager(t)
	g.install(t)
	g.writeFleet(t, "gw-1", h.urls("gw-1"))
	g.run(t)
	g.awaitLink(t)
	stop := g.sayLines(1)
	for round := range 6 {
		before := h.count(t, "fleet.gw-1.gps.rx")
		waitUntil(t, "traffic passes", func() bool { return h.count(t, "fleet.gw-1.gps.rx") > before+50 })
		switch round % 3 {
		case 0, 1:
			if err := g.process.Signal([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[round%3]); err != nil {
				t.Fatal(err)
			}
			<-g.ended
			g.run(t)
		default:
			g.install(t)
			g.mustRun(t, nil, "upgrade")
		}
	}
	count := stop()
	h.awaitLines(t, "gw-1", count)
	g.awaitLink(t)
	states := map[string]int{}
	for _, m := range h.stored(t, "fleet.gw-1.gps.state") {
		states[m.Headers().Get("Nats-Msg-Id")]++
	}
	for id, n := range states {
		if n > 1 {
			t.Errorf("state %s is stored %d times", id, n)
		}
	}
	g.awaitLines(t, count)
}

// Nothing that is one gateway's own comes to another, or to the hub, and nobody reaches one through another.
func TestFleetKeepsApart(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1", "gw-2")
	a, b := startInFleet(t, "gw-1", h.urls("gw-1")), startInFleet(t, "gw-2", h.urls("gw-2"))
	all := h.listen(t, ">")
	tap := b.connect(t, "tap")
	others, err := tap.SubscribeSync("serial.*.rx")
	if err == nil {
		err = tap.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	heardA, heardB := a.hearUntil("end\n"), b.hearUntil("end\n")
	admin := a.connect(t, "admin")
	// Attempts from the gateway's own machine, from the hub by the subjects of its own machine, by its user on the hub, and through it.
	for _, nc := range []*nats.Conn{admin, h.admin, a.userOnHub(t, h, "gw-1")} {
		for _, subject := range []string{"fleet.gw-2.gps.tx", "fleet.gw-2.gps.request", "fleet.gw-2.status"} {
			if nc == h.admin {
				subject = strings.Replace(subject, "fleet.gw-2", "serial", 1)
			}
			if m, err := nc.Request(subject, []byte("stray"), time.Second); err == nil {
				t.Errorf("%s is answered with %q", subject, m.Data)
			} else if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrTimeout) {
				t.Errorf("%s: %v", subject, err)
			}
		}
	}
	for _, reply := range []string{"fleet.gw-2.gps.tx", "fleet.gw-2.gps.request", "serial.gps.tx", "serial.supervisor.reload", "$JS.hub.API.STREAM.PURGE.FLEET"} {
		if err := h.admin.PublishRequest("fleet.gw-1.gps.tx", reply, []byte("own")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.device.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.admin.Request("fleet.gw-1.gps.tx", []byte("end"), patience); err != nil {
		t.Fatal(err)
	}
	wantHeard(t, heardA, strings.Repeat("own\n", 5)+"end\n", patience)
	b.mustRun(t, nil, "send", "gps", "end")
	wantHeard(t, heardB, "end\n", patience)
	waitUntil(t, "the hub has all", func() bool {
		return len(h.stored(t, "fleet.gw-1.gps.sent")) == 6 && len(h.stored(t, "fleet.gw-2.gps.sent")) == 1 && len(h.stored(t, "fleet.gw-1.gps.rx")) == 1
	})
	if m, err := others.NextMsg(100 * time.Millisecond); err == nil {
		t.Errorf("gateway gw-2 hears %q on %s", m.Data, m.Subject)
	}
	for {
		m, err := all.NextMsg(100 * time.Millisecond)
		if err != nil {
			break
		}
		if strings.HasPrefix(m.Subject, "serial.") && string(m.Data) != "stray" {
			t.Errorf("the hub hears %q on %s", m.Data, m.Subject)
		}
	}
	if list := h.stored(t, "fleet.>"); len(list) == 0 || !allAre(list, func(m jetstream.Msg) bool { return m.Headers().Get("Serial-History-Seq") != "" }) {
		t.Errorf("the hub's stream has %d messages, and not all from a history", len(list))
	}
}

func allAre(list []jetstream.Msg, is func(jetstream.Msg) bool) bool {
	for _, m := range list {
		if !is(m) {
			return false
		}
	}
	return true
}

// userOnHub is a client that has got hold of the gateway's password on the hub.
func (g *gateway) userOnHub(t *testing.T, h *hub, name string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+h.nodes[0].client, nats.UserInfo(name, "secret-"+name), nats.CustomInboxPrefix("_INBOX_fleet_"+name),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// The gateway's history is deleted under traffic and begins anew: the hub has what was kept of the first, and all of the second.
func TestFleetHistoryDeleted(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	g := startInFleet(t, "gw-1", h.urls("gw-1"))
	stop := g.sayLines(1)
	waitUntil(t, "traffic passes", func() bool { return h.count(t, "fleet.gw-1.gps.rx") > 100 })
	waitUntil(t, "it is deleted, between what is being stored", func() bool { return os.RemoveAll(filepath.Join(g.dir, "state/store/jetstream")) == nil })
	waitUntil(t, "the store begins anew", func() bool { return strings.Contains(g.errors.String(), "history and queues store again") })
	before := h.count(t, "fleet.gw-1.gps.rx")
	waitUntil(t, "traffic passes", func() bool { return h.count(t, "fleet.gw-1.gps.rx") > before+100 })
	count := stop()
	waitUntil(t, "the history has the last line", func() bool {
		all := g.stored(t, "serial.gps.rx")
		return len(all) > 0 && all[len(all)-1] == fmt.Sprintf("line %d", count-1)
	})
	g.awaitLink(t)
	hub, times := map[string]int{}, 0
	for _, m := range h.stored(t, "fleet.gw-1.gps.rx") {
		if hub[string(m.Data())]++; hub[string(m.Data())] > 1 {
			times++
		}
	}
	if times > 0 {
		t.Errorf("%d lines are stored twice on the hub", times)
	}
	for _, line := range g.stored(t, "serial.gps.rx") {
		if hub[line] == 0 {
			t.Fatalf("%q is in the history, and not on the hub", line)
		}
	}
}
