package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// A link over which an answer takes longer than a stream does to lose its leader brings all, once and in order, and nobody takes the hub for one
// that stores nothing.
func TestFleetSlowLink(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	p := startProxy(t, h.nodes[0].leaf)
	p.slow(800 * time.Millisecond)
	g := startInFleet(t, "gw-1", p.url("gw-1"))
	live := h.listen(t, "fleet.gw-1.>")
	stop := g.sayLines(1)
	waitUntil(t, "lines come over the slow link", func() bool { return h.count(t, "fleet.gw-1.gps.rx") > 1000 })
	h.awaitLines(t, "gw-1", stop())
	g.awaitLink(t)
	heard, _, err := live.Pending()
	if err != nil || heard < 1000 {
		t.Fatalf("%d messages were heard: %v", heard, err)
	}
	for range heard {
		if m, err := live.NextMsg(patience); err != nil || m.Header[ipc.HeaderUnstored] != nil {
			t.Fatalf("a message was shown beside what is stored: %+v, %v", m, err)
		}
	}
	if n := strings.Count(g.errors.String(), "the link to the hub is up"); n != 1 {
		t.Errorf("the link was made %d times:\n%s", n, g.errors)
	}
}

// A hub whose stream takes nothing shows what happens to those who listen all the same, and has it once, in its order, when there is room.
func TestFleetStoresNothing(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	g := startInFleet(t, "gw-1", h.urls("gw-1"))
	live := h.listen(t, "fleet.gw-1.gps.rx")
	count := 0
	hear := func(what string, met func(*nats.Msg) bool) (got *nats.Msg) {
		t.Helper()
		waitUntil(t, what, func() bool {
			if _, err := fmt.Fprintf(g.device, "line %d\n", count); err != nil {
				t.Fatal(err)
			}
			count++
			m, err := live.NextMsg(100 * time.Millisecond)
			got = m
			return err == nil && met(m)
		})
		return got
	}
	unstored := func(m *nats.Msg) bool { return m.Header.Get(ipc.HeaderUnstored) != "" }
	hear("the hub hears the device", func(m *nats.Msg) bool { return !unstored(m) })
	g.awaitLink(t)

	stream, err := h.js.Stream(t.Context(), "FLEET")
	if err != nil {
		t.Fatal(err)
	}
	roomy := stream.CachedInfo().Config
	full := roomy
	full.MaxMsgs, full.Discard = int64(h.count(t, "fleet.>")), jetstream.DiscardNew
	if _, err := h.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	shown := hear("what the full stream refuses is shown", unstored)
	g.awaitLeaf(t, "status says that it is not stored", func(l ipc.LeafStatus) bool { return l.Behind > 0 })
	if _, err := h.js.UpdateStream(t.Context(), roomy); err != nil {
		t.Fatal(err)
	}
	g.awaitLink(t)
	h.awaitLines(t, "gw-1", count)
	for _, m := range h.stored(t, "fleet.gw-1.gps.rx") {
		if string(m.Data()) != string(shown.Data) {
			continue
		}
		if id := m.Headers().Get(ipc.HeaderMsgID); id != shown.Header.Get(ipc.HeaderUnstored) {
			t.Errorf("%q was shown as %v and is stored as %s", shown.Data, shown.Header, id)
		}
	}
	if _, err := g.device.Write([]byte("last\n")); err != nil {
		t.Fatal(err)
	}
	for heard := map[string]bool{}; !heard["last"]; {
		m, err := live.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		text := string(m.Data)
		if unstored(m) && (heard[text] || text == "last") {
			t.Errorf("%q is shown when it is stored", text)
		}
		heard[text] = heard[text] || !unstored(m)
	}
}

// While a hub elects who leads its stream, those who listen there hear every line in its turn, stored or not, and the stream has all once.
func TestFleetLeaderKilled(t *testing.T) {
	t.Parallel()
	h := startHub(t, 3, "gw-1")
	leader := h.leader(t)
	others := &hub{nodes: slices.Delete(slices.Clone(h.nodes), leader, leader+1)}
	others.connect(t)
	g := startInFleet(t, "gw-1", others.urls("gw-1"))
	live := make(chan *nats.Msg, 1<<16)
	_, err := others.admin.ChanSubscribe("fleet.gw-1.gps.rx", live)
	if err == nil {
		err = others.admin.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := g.sayLines(1)
	next, shown := 0, 0
	hear := func(what string, met func() bool) {
		t.Helper()
		for late := time.After(patience); !met(); {
			select {
			case m := <-live:
				if m.Header[ipc.HeaderUnstored] != nil {
					shown++
				}
				n := 0
				if _, err := fmt.Sscanf(string(m.Data), "line %d", &n); err != nil {
					t.Fatalf("%q: %v", m.Data, err)
				}
				if n > next {
					t.Fatalf("line %d is heard, and line %d was not", n, next)
				}
				next = max(next, n+1)
			case <-late:
				t.Fatalf("not met: %s", what)
			}
		}
	}
	hear("lines come", func() bool { return next > 200 })
	h.nodes[leader].kill()
	hear("lines are shown", func() bool { return shown > 100 })
	hear("lines are stored again", func() bool { return len(live) == 0 && others.count(t, "fleet.gw-1.gps.rx") > next-shown })
	count := stop()
	hear("all lines are heard", func() bool { return next == count })
	others.awaitLines(t, "gw-1", count)
}
