package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// A hub's stream that is full by bytes refuses a long line and takes the short ones behind it. The long one comes later, whatever happens
// to the supervisor meanwhile, and each once.
func TestFleetRefusesOutOfTheMiddle(t *testing.T) {
	t.Parallel()
	h := startHub(t, 1, "gw-1")
	p := startProxy(t, h.nodes[0].leaf)
	g := startInFleet(t, "gw-1", p.url("gw-1"))
	const subject = "fleet.gw-1.gps.rx"
	lacks := filepath.Join(g.dir, "state", "hub-lacks.json")
	count, gaps := 0, 0
	say := func(padding ...int) {
		t.Helper()
		var lines strings.Builder
		for _, length := range padding {
			fmt.Fprintf(&lines, "line %d %s\n", count, strings.Repeat("x", length))
			count++
		}
		if _, err := g.device.Write([]byte(lines.String())); err != nil {
			t.Fatal(err)
		}
	}
	again := func(signal syscall.Signal) func() {
		return func() {
			if err := g.process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			<-g.ended
			g.run(t)
		}
	}
	for what, do := range map[string]func(){
		"killed": again(syscall.SIGKILL), "stopped": again(syscall.SIGTERM),
		"cut": func() { p.cut(); p.restore() },
	} {
		g.awaitLink(t)
		stream, err := h.js.Stream(t.Context(), "FLEET")
		if err != nil {
			t.Fatal(err)
		}
		roomy := stream.CachedInfo().Config
		roomy.Duplicates = 100 * time.Millisecond // so that what is told twice is stored twice
		full := roomy
		full.MaxBytes, full.Discard = int64(stream.CachedInfo().State.Bytes)+5000, jetstream.DiscardNew
		if _, err := h.js.UpdateStream(t.Context(), full); err != nil {
			t.Fatal(err)
		}
		say(6000, 0, 0, 6000, 0)
		g.awaitLeaf(t, what+": it is behind", func(l ipc.LeafStatus) bool { return l.Behind > 0 && l.Error != "" })
		if _, err := os.Stat(lacks); err == nil {
			gaps++ // else the refusal came before anything else was told
		}
		do()
		g.awaitLeaf(t, what+": it is connected again, and behind", func(l ipc.LeafStatus) bool { return l.Connected && l.Behind > 0 })
		if _, err := h.js.UpdateStream(t.Context(), roomy); err != nil {
			t.Fatal(err)
		}
		say(0)
		waitUntil(t, what+": all lines are stored", func() bool { return h.count(t, subject) >= count })
	}
	g.awaitLink(t)
	waitUntil(t, "nothing is kept any more of what it lacked", func() bool { _, err := os.Stat(lacks); return errors.Is(err, fs.ErrNotExist) })
	seen := map[string]bool{}
	for _, m := range h.stored(t, subject) {
		text := string(m.Data())
		if seen[text] {
			t.Errorf("%.20q is stored twice", text)
		}
		seen[text] = true
	}
	if gaps == 0 {
		t.Error("nothing was refused out of the middle")
	}
	if len(seen) != count {
		t.Errorf("%d lines are stored of %d\n%s", len(seen), count, g.errors)
	}
}
