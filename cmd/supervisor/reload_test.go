package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// write puts another config in place.
func (g *gateway) write(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, "c.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *gateway) reload(t *testing.T, args ...string) (r ipc.ReloadReply) {
	t.Helper()
	if err := json.Unmarshal(g.mustRun(t, nil, append([]string{"reload", "--json"}, args...)...), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// pids are the processes of all workers.
func (g *gateway) pids(t *testing.T) map[string]int {
	t.Helper()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for _, w := range s.Workers {
		pids[w.Name] = w.PID
	}
	return pids
}

// Of many workers and ports the one that was edited begins anew, and nobody notices anything of the others.
func TestReloadTouchesWhatHasChanged(t *testing.T) {
	var devices []*simulator.Pty
	for range 3 {
		device, err := simulator.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = device.Close() })
		devices = append(devices, device)
	}
	config := func(baud, edited, ports, history string) string {
		text := fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nhistory: {max_age: %s}\nports:\n  gps: {device: %s}\n  two: {device: %s, baud: %s}\n%sworkers:\n",
			history, devices[0].Path(), devices[1].Path(), baud, ports)
		for n := range 20 {
			command := "exec sleep 1000"
			if n == 7 {
				command = edited
			}
			text += fmt.Sprintf("  w%d: {command: %s, stop_timeout: %ds}\n", n, command, 5+n%2*len(edited)%7)
		}
		return text
	}
	g := newGateway(t, os.DevNull)
	g.manager = startManager(t) // which keeps devices that a supervisor leaves open, but not those that a reload closes
	g.device = devices[0]
	g.write(t, config("9600", "exec sleep 1000", "", "1h"))
	g.program = g.background(t, "run", "--config", filepath.Join(g.dir, "c.yaml"))
	running := func() bool {
		s, err := g.status()
		return err == nil && s.Ready && len(s.Workers) >= 24 && s.Ports[0].State == ipc.Open && s.Ports[1].State == ipc.Open
	}
	waitUntil(t, "all runs", running)
	before := g.pids(t)
	expect := func(what string, want ipc.ReloadReply, args ...string) {
		t.Helper()
		if got := g.reload(t, args...); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	expect("nothing", ipc.ReloadReply{})

	// A worker, dry and then in earnest.
	g.write(t, config("9600", "exec sleep 1001", "", "1h"))
	expect("a dry run", ipc.ReloadReply{Restarted: []string{"worker w7"}}, "--dry-run")
	if after := g.pids(t); !reflect.DeepEqual(after, before) {
		t.Errorf("after a dry run there are %v, before %v", after, before)
	}
	expect("a worker", ipc.ReloadReply{Restarted: []string{"worker w7"}})
	waitUntil(t, "all runs", running)
	after := g.pids(t)
	if after["w7"] == before["w7"] || after["w7"] == 0 {
		t.Errorf("w7 has pid %d, as before", after["w7"])
	}
	before["w7"] = after["w7"]
	if !reflect.DeepEqual(after, before) {
		t.Errorf("others were touched: %v, before %v", after, before)
	}

	// A port, a new one, and the history's limit, while the first port works.
	lines := g.hearUntil("the end\n")
	nc := g.connect(t, "send")
	for n := range 50 {
		queueFrame(t, nc, fmt.Sprint("frame ", n), "")
	}
	g.write(t, config("19200", "exec sleep 1001", fmt.Sprintf("  three: {device: %s, queue: {max_messages: 5}}\n", devices[2].Path()), "2h"))
	expect("ports", ipc.ReloadReply{Started: []string{"port three"}, Restarted: []string{"port two"}, Changed: []string{"history.max_age"}})
	queueFrame(t, nc, "the end", "")
	if got := string(<-lines); strings.Count(got, "\n") != 51 {
		t.Errorf("the device has got %q", got)
	}
	waitUntil(t, "the new port is open", func() bool {
		s, err := g.status()
		return err == nil && len(s.Ports) == 3 && s.Ports[2].State == ipc.Open && s.Ports[1].State == ipc.Open && s.Ports[1].Line == "19200 8N1" && s.Ready
	})
	after = g.pids(t)
	for _, name := range []string{"gps/reader", "gps/writer", "w0", "w7", "w19"} {
		if after[name] != before[name] {
			t.Errorf("%s was touched", name)
		}
	}
	g.mustRun(t, nil, "send", "three", "x", "--wait")

	// Back, by SIGHUP.
	g.write(t, config("19200", "exec sleep 1001", "", "2h"))
	if err := g.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the port is gone", func() bool {
		s, err := g.status()
		return err == nil && len(s.Ports) == 2
	})
	if out, err := g.supervisor("control", "three").CombinedOutput(); err == nil || !strings.Contains(string(out), `there is no port "three"`) {
		t.Errorf("control of a port that is gone: %v, %s", err, out)
	}
	if out, err := g.supervisor("send", "three", "x").CombinedOutput(); err == nil || !strings.Contains(string(out), `there is no port "three"`) {
		t.Errorf("send to a port that is gone: %v, %s", err, out)
	}

	// Mistakes change nothing.
	before = g.pids(t)
	g.write(t, config("fast", "exec sleep 1", "", "2h"))
	out, err := g.supervisor("reload").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `c.yaml:6:`) || !strings.Contains(string(out), `"fast" is not a baud rate`) {
		t.Errorf("a config with a mistake: %v, %s", err, out)
	}
	if after := g.pids(t); !reflect.DeepEqual(after, before) {
		t.Errorf("after a mistake there are %v, before %v", after, before)
	}
	g.write(t, strings.Replace(config("19200", "exec sleep 1001", "", "2h"), "name: test", "name: other", 1))
	expect("what can only change at the start", ipc.ReloadReply{AtNextStart: []string{"name"}})
}
