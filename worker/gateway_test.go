package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/printout"
	"github.com/serialvisor/serialvisor/internal/simulator"
	"github.com/serialvisor/serialvisor/worker"
)

// programs is the folder with the programs under test.
var programs string

// patience is how long anything may take in a test.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if mode := os.Getenv("WORKER_TEST_MODE"); mode != "" {
		runTestWorker(mode) // this program is a worker that a test has started
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "serialvisor-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", programs+"/", "../cmd/supervisor", "../cmd/reader", "../cmd/writer", "../examples/alarm")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	// The examples find a gateway in their environment, as a worker does.
	t := &exampleTest{dir: filepath.Join(dir, "examples")}
	defer t.end()
	echo := plug(t, func(line string) string { return line + "\n" })
	g := start(t, "ports: {echo: {device: "+echo.Path()+"}}")
	for _, variable := range g.env(t, "send") {
		name, value, _ := strings.Cut(variable, "=")
		_ = os.Setenv(name, value)
	}
	return m.Run()
}

// test is what of testing.TB the gateway and devices need.
type test interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
	TempDir() string
	Cleanup(func())
}

// exampleTest stands for a test around all examples.
type exampleTest struct {
	dir      string
	cleanups []func()
}

func (*exampleTest) Helper()                   {}
func (*exampleTest) Fatal(v ...any)            { panic(fmt.Sprint(v...)) }
func (*exampleTest) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
func (*exampleTest) Errorf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
func (t *exampleTest) TempDir() string         { _ = os.MkdirAll(t.dir, 0o700); return t.dir }
func (t *exampleTest) Cleanup(cleanup func())  { t.cleanups = append(t.cleanups, cleanup) }
func (t *exampleTest) end() {
	for _, cleanup := range slices.Backward(t.cleanups) {
		cleanup()
	}
}

// gateway is a running supervisor.
type gateway struct {
	dir     string
	process *os.Process
	ended   chan struct{}
	err     error
	errors  *printout.Output
}

// start starts one. config is what stands behind its name and broker; device paths in it are made by the test.
func start(t test, config string) *gateway {
	t.Helper()
	g := &gateway{dir: t.TempDir(), ended: make(chan struct{}), errors: &printout.Output{}}
	file := filepath.Join(g.dir, "c.yaml")
	if err := os.WriteFile(file, []byte("name: test\nbroker: {listen: 127.0.0.1:0}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := g.command("run", "--config", file)
	cmd.Stderr = g.errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.process = cmd.Process
	go func() {
		g.err = cmd.Wait()
		close(g.ended)
	}()
	t.Cleanup(func() {
		_ = g.process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(patience, func() { _ = g.process.Signal(syscall.SIGQUIT) })
		defer late.Stop()
		if <-g.ended; g.err != nil {
			t.Errorf("the supervisor: %v\n%s", g.err, g.errors)
		}
	})
	waitUntil(t, "the ports that have a device are open", func() bool {
		s := g.status()
		return s.Ready && !slices.ContainsFunc(s.Ports, func(p ipc.PortStatus) bool {
			return strings.HasPrefix(p.Device, "/dev/pts/") && p.State != ipc.Open
		})
	})
	return g
}

func (g *gateway) command(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(programs, "supervisor"), append(args, "--state-dir", filepath.Join(g.dir, "state"))...)
}

// status is what the supervisor says of itself; nothing if it does not answer.
func (g *gateway) status() (s ipc.Status) {
	document, err := g.command("status", "--json").Output()
	if err == nil {
		_ = json.Unmarshal(document, &s)
	}
	return s
}

// env is what supervisor env prints, and what a supervisor tells a worker besides.
func (g *gateway) env(t test, role string, ports ...string) []string {
	t.Helper()
	out, err := g.command("env", "--role", role).Output()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"SERIALVISOR_WORKER=test-" + role, "SERIALVISOR_PORTS=" + strings.Join(ports, ",")}
	for _, m := range regexp.MustCompile(`([A-Z]+_[A-Z]+)='([^']*)'`).FindAllStringSubmatch(string(out), -1) {
		env = append(env, m[1]+"="+m[2])
	}
	return env
}

// connect is a worker in this process.
func connect(t testing.TB, env []string) *worker.Worker {
	t.Helper()
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	w, err := worker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// device is a simulated one that the test plays. It has all that it was sent.
type device struct {
	*simulator.Pty
	mu    sync.Mutex // guards heard
	heard []byte
	ended chan struct{}
}

// plug makes a device. answer, if not nil, says what it answers to each line.
func plug(t test, answer func(line string) string) *device {
	t.Helper()
	pty, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	d := &device{Pty: pty, ended: make(chan struct{})}
	t.Cleanup(func() { _ = pty.Close(); <-d.ended })
	go func() {
		defer close(d.ended)
		buffer, line := make([]byte, 4096), ""
		for {
			n, err := pty.Read(buffer)
			d.mu.Lock()
			d.heard = append(d.heard, buffer[:n]...)
			d.mu.Unlock()
			for _, c := range buffer[:n] {
				if line += string(c); c == '\n' && answer != nil {
					_, _ = pty.Write([]byte(answer(strings.TrimSuffix(line, "\n"))))
				}
				if c == '\n' {
					line = ""
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return d
}

func (d *device) say(t testing.TB, text string) {
	t.Helper()
	if _, err := d.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func (d *device) hears(t testing.TB, text string) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("the device hears %q", text), func() bool { return d.has(text) })
}

func (d *device) has(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Contains(string(d.heard), text)
}

func waitUntil(t test, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s: not met: %s", patience, what)
		}
	}
}

// soon is a context that ends a test that hangs.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
