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

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/printout"
	"github.com/serialvisor/serialvisor/internal/servicemanager"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// gateway is a running supervisor with one port, gps, on a simulated device that the test plays.
type gateway struct {
	*program
	device   *simulator.Pty
	link     string // to the device, if it has one
	dir      string
	programs string
	manager  *servicemanager.Manager // starts the supervisor; nil: nobody
	group    string                  // control group in which it begins; empty: the test's
	sender   *nats.Conn              // of mustSend
}

type portNumbers = ipc.PortStatus

// startGateway starts a supervisor. settings are lines of the port's config.
func startGateway(t *testing.T, settings ...string) *gateway {
	t.Helper()
	return startGatewayFrom(t, programs, settings...)
}

// startGatewayFrom starts one whose programs are in another folder.
func startGatewayFrom(t *testing.T, programs string, settings ...string) *gateway {
	t.Helper()
	g := newOpenGateway(t, settings...)
	g.programs = programs
	g.run(t)
	return g
}

// newOpenGateway is one that does not run yet, with its port on a device that the test plays.
func newOpenGateway(t *testing.T, settings ...string) *gateway {
	t.Helper()
	device, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	g := newGateway(t, device.Path(), settings...)
	g.device = device
	return g
}

// newGateway is one that does not run yet, with its port on some device.
func newGateway(t *testing.T, device string, settings ...string) *gateway {
	t.Helper()
	g := &gateway{dir: t.TempDir(), programs: programs}
	config := fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nports:\n  gps:\n    device: %s\n", device)
	for _, line := range settings {
		config += "    " + line + "\n"
	}
	if err := os.WriteFile(filepath.Join(g.dir, "c.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// run starts the supervisor, again after it has ended, and waits until its port is open.
func (g *gateway) run(t *testing.T) {
	t.Helper()
	g.program = g.background(t, "run", "--config", filepath.Join(g.dir, "c.yaml"))
	g.await(t, "the port is open", func(p portNumbers) bool { return p.State == ipc.Open })
}

// supervisor is a verb of the gateway's supervisor, to be run.
func (g *gateway) supervisor(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(g.programs, "supervisor"), append(args, "--state-dir", filepath.Join(g.dir, "state"))...)
	cmd.Env = append(os.Environ(), "GORACE="+raceOptions)
	return cmd
}

// program is a verb that runs beside the test.
type program struct {
	*output // what it prints
	errors  *output
	process *os.Process
	ended   chan struct{} // closed when it has; err is set then
	err     error
}

// background runs a verb until it ends or the test does, when it is asked to end and must do so with exit code 0.
func (g *gateway) background(t *testing.T, args ...string) *program {
	t.Helper()
	cmd := g.supervisor(args...)
	if g.group != "" && args[0] == "run" {
		cmd = inGroup(g.group, cmd)
	}
	if g.manager != nil && args[0] == "run" {
		var err error
		if cmd, err = g.manager.Command(cmd); err != nil {
			t.Fatal(err)
		}
	}
	p := &program{output: &output{}, errors: &output{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.process = cmd.Process
	for _, f := range cmd.ExtraFiles {
		_ = f.Close()
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-p.ended:
			return // the test has looked at how
		default:
		}
		_ = p.process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(patience, func() { _ = p.process.Signal(syscall.SIGQUIT) })
		defer late.Stop()
		if <-p.ended; p.err != nil {
			t.Errorf("supervisor %s: %v\n%s", args[0], p.err, p.errors)
		}
	})
	if args[0] == "tap" {
		waitUntil(t, "the tap listens", func() bool { return strings.Contains(p.errors.String(), "listening") })
	}
	return p
}

// tap runs supervisor tap, and returns its output when it misses nothing any more.
func (g *gateway) tap(t *testing.T, args ...string) *output {
	t.Helper()
	return g.background(t, append([]string{"tap"}, args...)...).output
}

// mustRun runs a verb that must succeed, with some input.
func (g *gateway) mustRun(t *testing.T, input []byte, args ...string) []byte {
	t.Helper()
	cmd := g.supervisor(args...)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("supervisor %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out
}

// status is the whole status document.
func (g *gateway) status() (s ipc.Status, err error) {
	document, err := g.supervisor("status", "--json").Output()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(document, &s)
}

// await waits until the status of the first port is as it should be.
func (g *gateway) await(t *testing.T, what string, met func(portNumbers) bool) {
	t.Helper()
	var last string
	defer func() {
		if t.Failed() {
			t.Log(last)
		}
	}()
	waitUntil(t, what, func() bool {
		s, err := g.status()
		last = fmt.Sprintf("status %+v, error %v", s, err)
		return err == nil && len(s.Ports) > 0 && met(s.Ports[0])
	})
}

// output is what a program prints.
type output struct {
	printout.Output
	hold sync.Mutex // held while nothing is to be read
}

// Write implements io.Writer.
func (o *output) Write(text []byte) (int, error) {
	o.hold.Lock()
	defer o.hold.Unlock()
	return o.Output.Write(text)
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
