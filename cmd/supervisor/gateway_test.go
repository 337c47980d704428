package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// gateway is a running supervisor with one port, gps, on a simulated device that the test plays.
type gateway struct {
	device *simulator.Pty
	dir    string
	log    *output
}

type portNumbers = ipc.PortStatus

// startGateway starts a supervisor. settings are lines of the port's config.
func startGateway(t *testing.T, settings ...string) *gateway {
	t.Helper()
	device, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	g := &gateway{device: device, dir: t.TempDir()}
	config := fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nports:\n  gps:\n    device: %s\n", device.Path())
	for _, line := range settings {
		config += "    " + line + "\n"
	}
	path := filepath.Join(g.dir, "c.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.log = g.background(t, syscall.SIGTERM, "run", "--config", path)
	g.await(t, "the port is open", func(p portNumbers) bool { return p.State == ipc.Open })
	return g
}

// supervisor is a verb of the gateway's supervisor, to be run.
func (g *gateway) supervisor(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(programs, "supervisor"), append(args, "--state-dir", filepath.Join(g.dir, "state"))...)
	cmd.Env = append(os.Environ(), "GORACE="+raceOptions)
	return cmd
}

// background runs a verb until the test ends, when it gets a signal and must exit with 0.
func (g *gateway) background(t *testing.T, end syscall.Signal, args ...string) *output {
	t.Helper()
	cmd := g.supervisor(args...)
	out := &output{}
	errs := &output{}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(end)
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
		defer late.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("supervisor %s: %v\n%s", args[0], err, errs)
		}
	})
	if args[0] == "tap" {
		waitUntil(t, "the tap listens", func() bool { return strings.Contains(errs.String(), "listening") })
	}
	return out
}

// tap runs supervisor tap, and returns its output when it misses nothing any more.
func (g *gateway) tap(t *testing.T, args ...string) *output {
	t.Helper()
	return g.background(t, syscall.SIGTERM, append([]string{"tap"}, args...)...)
}

// await waits until the status of the port is as it should be.
func (g *gateway) await(t *testing.T, what string, met func(portNumbers) bool) {
	t.Helper()
	var last string
	defer func() {
		if t.Failed() {
			t.Log(last)
		}
	}()
	waitUntil(t, what, func() bool {
		document, err := g.supervisor("status", "--json").Output()
		if err != nil {
			last = err.Error()
			return false
		}
		last = string(document)
		var s ipc.Status
		return json.Unmarshal(document, &s) == nil && len(s.Ports) == 1 && met(s.Ports[0])
	})
}

// output collects what a program prints.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// until returns the output when there are n bytes of it.
func (o *output) until(t *testing.T, n int) []byte {
	t.Helper()
	waitUntil(t, fmt.Sprintf("%d bytes are printed", n), func() bool { return len(o.String()) >= n })
	return []byte(o.String())
}

// waitUntil waits for a condition.
func waitUntil(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); pause() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s: not met: %s", patience, what)
		}
	}
}
