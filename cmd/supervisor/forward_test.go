package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// forwarding is a gateway whose port gps forwards to some of the ports a, b and c.
type forwarding struct {
	*gateway
	to   map[string]*floodedPort
	want map[string]string // what each has been sent
}

func startForwarding(t *testing.T, to string) *forwarding {
	t.Helper()
	f := &forwarding{newOpenGateway(t), map[string]*floodedPort{}, map[string]string{}}
	f.install(t)
	for _, name := range []string{"a", "b", "c"} {
		f.to[name] = f.addPort(t, name, 0)
		f.to[name].hear(t)
	}
	f.configureForward(t, to)
	f.program = f.background(t, "run", "--config", filepath.Join(f.dir, "c.yaml"))
	f.awaitReady(t)
	return f
}

// configureForward writes the config, and another one does not touch the ports that are forwarded to.
func (f *forwarding) configureForward(t *testing.T, to string) {
	t.Helper()
	config := fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nports:\n  gps: {device: %s, forward_to: [%s]}\n", f.device.Path(), to)
	for _, name := range []string{"a", "b", "c"} {
		config += fmt.Sprintf("  %s: {device: %s}\n", name, f.to[name].device.Path())
	}
	f.write(t, config)
}

func (f *forwarding) awaitReady(t *testing.T) {
	t.Helper()
	waitUntil(t, "all ports are open", func() bool {
		s, err := f.status()
		open := 0
		for _, p := range s.Ports {
			if p.State == ipc.Open {
				open++
			}
		}
		return err == nil && s.Ready && open == 4
	})
}

// say has the device say lines, and wants each of the ports to be sent them once, behind what they were sent before.
func (f *forwarding) say(t *testing.T, lines, to string) {
	t.Helper()
	if _, err := f.device.Write([]byte(lines)); err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(to, ", ") {
		f.want[name] += lines
		waitUntil(t, "port "+name+" is sent what was received", func() bool { return strings.HasSuffix(f.to[name].heard.String(), lines) })
	}
	for name, p := range f.to {
		if got := p.heard.String(); got != f.want[name] {
			t.Fatalf("port %s was sent %q, want %q", name, got, f.want[name])
		}
	}
}

// Guards that of two ports whose queues share a stream only the first got what was forwarded.
func TestForwardToTwo(t *testing.T) {
	f := startForwarding(t, "a, b")
	f.say(t, "one\ntwo\n", "a, b")
	f.say(t, "three\n", "a, b")
}

// Guards that a port which is added to forward_to was sent what had been received long before, and one that stays lost or doubled
// frames when others come and go beside it.
func TestForwardToChanges(t *testing.T) {
	f := startForwarding(t, "a")
	f.say(t, "first\n", "a")
	for n, to := range []string{"a, b", "c", "a, b", "b, a", "c, a", "a", "b", "a"} {
		f.configureForward(t, to)
		if n%2 == 0 {
			f.reload(t)
		} else {
			f.install(t)
			f.mustRun(t, nil, "upgrade")
		}
		f.awaitReady(t)
		f.say(t, fmt.Sprintf("%d a\n%d b\n", n, n), to)
	}
}
