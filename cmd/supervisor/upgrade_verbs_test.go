package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Guards that an upgrade returned when the ports could not be used yet, and that a device which stayed open was called closed.
func TestUpgradeReturnsWhenAllIsTakenOver(t *testing.T) {
	g := newOpenGateway(t)
	g.install(t)
	config := fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nports:\n  gps: {device: %s}\n  gone: {device: %s}\n", g.device.Path(), filepath.Join(g.dir, "gone"))
	g.write(t, config)
	for n := range 6 {
		g.addPort(t, fmt.Sprint("p", n), 0)
	}
	g.addWorkers(t, player(t, "sleeper", "plays"))
	g.run(t)
	waitUntil(t, "all workers run", func() bool { return g.allRun(t) })
	// It looks all the time, which is how one sees what lasts for milliseconds only.
	states := g.connect(t, "tap")
	closed, err := states.SubscribeSync("serial.*.state")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		g.mustRun(t, nil, "upgrade")
		after, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		if !after.Ready {
			t.Errorf("it is not ready: %q", after.NotReady)
		}
		for i, p := range after.Ports {
			if p.State != before.Ports[i].State || p.Session != before.Ports[i].Session {
				t.Errorf("port %s was %s with session %s and is %s with %s", p.Name, before.Ports[i].State, before.Ports[i].Session, p.State, p.Session)
			}
		}
		if !g.allRun(t) {
			t.Errorf("not all workers run: %+v", after.Workers)
		}
	}
	for n, _, _ := closed.Pending(); n > 0; n, _, _ = closed.Pending() {
		m, err := closed.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(m.Data), `"closed"`) && m.Subject != "serial.gone.state" {
			t.Errorf("%s: %s", m.Subject, m.Data)
		}
	}
	for _, state := range g.stored(t, "serial.gps.state") {
		if strings.Contains(state, `"closed"`) {
			t.Errorf("the history says %s", state)
		}
	}
}

// Guards that verbs failed, or advised to start another supervisor, while one was being upgraded.
func TestVerbsDuringUpgrade(t *testing.T) {
	g := newOpenGateway(t)
	g.install(t)
	g.run(t)
	heard := g.hearUntil("the end\n")
	var want strings.Builder
	stop := make(chan struct{})
	var all sync.WaitGroup
	again := func(verb func(n int) (args []string, good func(out string) bool)) {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				args, good := verb(n)
				if out, err := g.supervisor(args...).CombinedOutput(); err != nil || !good(string(out)) {
					t.Errorf("supervisor %s: %v: %s", strings.Join(args, " "), err, out)
				}
			}
		})
	}
	has := func(text string) func(string) bool {
		return func(out string) bool { return strings.Contains(out, text) }
	}
	again(func(n int) ([]string, func(string) bool) {
		frame := fmt.Sprint("frame ", n)
		want.WriteString(frame + "\n")
		return []string{"send", "gps", frame}, func(out string) bool { return out == "" }
	})
	again(func(int) ([]string, func(string) bool) {
		return []string{"status"}, func(out string) bool { return strings.Contains(out, "gps ") && !strings.Contains(out, "closed") }
	})
	again(func(int) ([]string, func(string) bool) {
		return []string{"control", "gps"}, has("baud")
	})
	again(func(int) ([]string, func(string) bool) { return []string{"env"}, has("NATS_URL") })
	again(func(int) ([]string, func(string) bool) {
		return []string{"doctor", "--config", filepath.Join(g.dir, "c.yaml")}, func(out string) bool { return !strings.Contains(out, "end that program") }
	})
	for range 6 {
		g.mustRun(t, nil, "upgrade")
	}
	close(stop)
	all.Wait()
	g.mustRun(t, nil, "send", "gps", "the end")
	want.WriteString("the end\n")
	wantHeard(t, heard, want.String(), patience)
	g.await(t, "nothing waits", func(p portNumbers) bool { return p.Tx.Queued == 0 && p.State == ipc.Open })
}
