package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// pluggable is a gateway whose device is found by a link, so that it can go and come back.
type pluggable struct {
	*gateway
	link   string
	states *nats.Subscription
}

func startPluggable(t *testing.T, settings ...string) *pluggable {
	t.Helper()
	g := &pluggable{gateway: &gateway{dir: t.TempDir(), programs: programs}}
	g.link = filepath.Join(g.dir, "gps-device")
	config := fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nports:\n  gps:\n    device: %s\n", g.link)
	for _, line := range settings {
		config += "    " + line + "\n"
	}
	if err := os.WriteFile(filepath.Join(g.dir, "c.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.plugIn(t)
	g.run(t)
	states, err := g.connect(t, "tap").SubscribeSync("serial.gps.state")
	if err != nil {
		t.Fatal(err)
	}
	if err := states.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	g.states = states
	// A subscription takes effect with the next answer of the broker.
	if _, err := g.status(); err != nil {
		t.Fatal(err)
	}
	return g
}

// plugIn brings the device back, as another pseudo-terminal.
func (g *pluggable) plugIn(t *testing.T) time.Time {
	t.Helper()
	device, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	g.device = device
	if err := device.Link(g.link); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}

// unplug takes the device away, first its name as udev does.
func (g *pluggable) unplug(t *testing.T) time.Time {
	t.Helper()
	if err := os.Remove(g.link); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := g.device.Close(); err != nil {
		t.Fatal(err)
	}
	return begun
}

// awaitState waits until a state is published, and fails if another one is before.
func (g *pluggable) awaitState(t *testing.T, want ipc.State) ipc.PortState {
	t.Helper()
	m, err := g.states.NextMsg(patience)
	if err != nil {
		t.Fatalf("state %s was not published: %v\n%s", want, err, g.errors)
	}
	var s ipc.PortState
	if err := json.Unmarshal(m.Data, &s); err != nil {
		t.Fatal(err)
	}
	if s.State != want {
		t.Fatalf("the port is %s, want %s: %s", s.State, want, m.Data)
	}
	return s
}

// TestUnplugAHundredTimes pulls the device out while it is idle, in mid-frame, with output that it has not taken, and while
// it speaks: the port always comes back, with a new session, and nothing is left behind.
func TestUnplugAHundredTimes(t *testing.T) {
	g := startPluggable(t)
	const rounds = 100
	var gone, back []time.Duration
	var before resources
	sessions := map[string]bool{}
	for round := range rounds {
		var talk chan struct{}
		switch round % 4 {
		case 1:
			if _, err := g.device.Write([]byte("half a fra")); err != nil {
				t.Fatal(err)
			}
			if round == 1 { // what is still in the kernel goes with the device
				g.await(t, "it is read", func(p portNumbers) bool { return p.Rx.Bytes > 0 })
			}
		case 2: // more than a pty holds
			g.mustRun(t, bytes.Repeat([]byte("x"), 60000), "send", "gps", "-")
		case 3:
			talk = make(chan struct{})
			device := g.device
			go func() { // ends when the device is closed
				defer close(talk)
				for err := error(nil); err == nil; {
					_, err = device.Write([]byte("$GPGGA,and so on\r\n"))
				}
			}()
		}
		unplugged := g.unplug(t)
		gone = append(gone, g.awaitState(t, ipc.Missing).Time.Sub(unplugged))
		if talk != nil {
			<-talk
		}
		plugged := g.plugIn(t)
		s := g.awaitState(t, ipc.Open)
		back = append(back, s.Time.Sub(plugged))
		if s.Session == "" || sessions[s.Session] {
			t.Fatalf("round %d: session %q is not new", round, s.Session)
		}
		sessions[s.Session] = true
		if round%4 == 2 { // the frame in the queue has waited
			if _, err := g.device.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			drained := g.drain()
			g.await(t, "the queue is empty", func(p portNumbers) bool { return p.Tx.Queued == 0 })
			drained()
		}
		if round == 3 {
			before = g.resources(t)
		}
	}
	slices.Sort(gone)
	slices.Sort(back)
	t.Logf("unplug to state missing: median %s, longest %s", gone[rounds/2], gone[rounds-1])
	t.Logf("link there to state open: median %s, longest %s", back[rounds/2], back[rounds-1])

	waitUntil(t, "no descriptor and process is left behind", func() bool {
		after := g.resources(t)
		return after.descriptors <= before.descriptors && after.children <= before.children
	})
	// 25 frames were sent, and one of those received is sure to have been read.
	history := g.mustRun(t, nil, "tap", "gps", "--since", "1h", "-n", "26")
	if n := bytes.Count(history, []byte("half a fra [partial]")); n == 0 {
		t.Errorf("what was begun in mid-frame is not in the history:\n%.2000s", history)
	}
	checkGoroutines(t, g, rounds)
}

// drain reads what the device is sent, until the returned function is called.
func (g *pluggable) drain() (stop func()) {
	done := make(chan struct{})
	device := g.device
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for err := error(nil); err == nil; {
			_, err = device.Read(buffer)
		}
	}()
	return func() {
		_ = device.SetReadDeadline(time.Now())
		<-done
		_ = device.SetReadDeadline(time.Time{})
	}
}

// resources are what a supervisor holds.
type resources struct{ descriptors, children int }

func (g *pluggable) resources(t *testing.T) (r resources) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	r.descriptors = len(entries)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", g.process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		children, _ := os.ReadFile(task) // a thread may have ended
		r.children += len(strings.Fields(string(children)))
	}
	return r
}

// checkGoroutines has the supervisor crash and say what goroutines it has: no kind of them as often as there were rounds.
func checkGoroutines(t *testing.T, g *pluggable, rounds int) {
	t.Helper()
	if err := g.process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	dump := g.errors.String()
	creators := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^created by (\S+)`).FindAllStringSubmatch(dump, -1) {
		creators[m[1]]++
	}
	if len(creators) == 0 {
		t.Fatalf("no goroutines in its last words:\n%s", dump)
	}
	for creator, n := range creators {
		if n > rounds/2 {
			t.Errorf("%d goroutines were made by %s", n, creator)
		}
	}
}

// Workers that somebody has stopped (SIGSTOP) do not keep the port from its device: they are woken to end, and not waited for
// until there is no more patience with them.
func TestPlugWithStoppedWorkers(t *testing.T) {
	g := startPluggable(t)
	status, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range status.Workers {
		if err := syscall.Kill(w.PID, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	g.unplug(t)
	g.awaitState(t, ipc.Missing)
	back := g.plugIn(t)
	took := g.awaitState(t, ipc.Open).Time.Sub(back)
	t.Logf("link there to state open: %s", took)
	if took > 2*time.Second {
		t.Errorf("the port opened after %s", took)
	}
	if status, err = g.status(); err != nil {
		t.Fatal(err)
	}
	for _, w := range status.Workers {
		if strings.Contains(w.LastExit, "killed") {
			t.Errorf("%s was killed, and not woken", w.Name)
		}
	}
}
