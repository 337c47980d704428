package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// attack is one attempt at what the one who makes it may not do. Whatever it returns, nothing may come of it: see arena.
type attack struct {
	who  string
	what string // as docs/security.md has it
	try  func(*arena) error
}

// TestAttacks makes every attempt that docs/security.md lists on a gateway whose traffic goes on meanwhile.
func TestAttacks(t *testing.T) {
	a := newArena(t)
	attacks := slices.Concat(strangersAttacks(), tapsAttacks(), historyAttacks(), narrowedAttacks(), sendersAttacks(), memoryAttacks(), mqttAttacks())
	if len(attacks) < 60 {
		t.Errorf("there are %d attacks", len(attacks))
	}
	for _, at := range attacks {
		t.Run(strings.ReplaceAll(at.who+" "+at.what, "/", "-"), func(t *testing.T) {
			a.t = t
			if err := at.try(a); err != nil {
				t.Errorf("it succeeds: %v", err)
			}
			a.wantUnharmed()
		})
	}
	a.t = t
	a.wantNothingDone()
	wantListed(t, attacks)
}

// wantListed compares the attacks with those in the documentation.
func wantListed(t *testing.T, attacks []attack) {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, at := range attacks {
		if row := fmt.Sprintf("| %s | %s |", at.who, at.what); !bytes.Contains(text, []byte(row)) {
			missing = append(missing, row+" nothing comes of it |")
		}
	}
	if len(missing) > 0 {
		t.Errorf("docs/security.md does not have\n%s", strings.Join(missing, "\n"))
	}
	if listed := bytes.Count(text, []byte("| nothing comes of it |")); listed != len(attacks) {
		t.Errorf("docs/security.md lists %d attacks, and %d were made", listed, len(attacks))
	}
}

// arena is a gateway with users of all kinds, of which honest ones watch. The device of the port gps says numbered lines all the
// time, the one of the port other is silent, and both hear nothing but what the sender may send to gps: legal.
type arena struct {
	*gateway
	t     *testing.T // of the attack that is made now
	whole *testing.T
	other *simulator.Pty
	url   string
	at    map[string]string // addresses of other listeners
	key   string            // public nkey of a user

	clients map[string]*nats.Conn // attackers by name

	mu     sync.Mutex // guards all below
	seen   map[string]int
	spoilt []string
}

const (
	legal    = "legal"
	password = "correct horse battery"
)

func newArena(t *testing.T) *arena {
	t.Helper()
	g := newOpenGateway(t)
	a := &arena{gateway: g, t: t, whole: t, at: map[string]string{}, clients: map[string]*nats.Conn{}, seen: map[string]int{}}
	var err error
	if a.other, err = simulator.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.other.Close() })
	for _, listener := range []string{"websocket", "mqtt", "metrics"} {
		a.at[listener] = freeAddress(t)
	}
	hash := g.hash(t, password)
	if _, err := fmt.Sscanf(string(g.mustRun(t, nil, "nkey")), "nkey: %s\n", &a.key); err != nil {
		t.Fatal(err)
	}
	g.write(t, fmt.Sprintf(`name: test
broker:
  listen: 127.0.0.1:0
  websocket: {listen: %q}
  mqtt: {listen: %q}
  users:
    - {name: watcher, password: %[3]s, role: tap}
    - {name: lab, password: %[3]s, role: tap, ports: [gps]}
    - {name: rival, password: %[3]s, role: tap, ports: [other]}
    - {name: robot, password: %[3]s, role: send, ports: [gps]}
    - {name: keyed, nkey: %[4]s, role: admin}
metrics: {listen: %q}
ports: {gps: {device: %s}, other: {device: %s}}
workers:
  w: {command: env >env.tmp && mv env.tmp env && exec sleep 1h, role: tap, ports: [gps]}
`, a.at["websocket"], a.at["mqtt"], hash, a.key, a.at["metrics"], g.device.Path(), a.other.Path()))
	g.run(t)
	g.await(t, "all is well", func(portNumbers) bool { s, err := g.status(); return err == nil && s.Ready })
	a.url = g.env(t, "tap")["NATS_URL"]

	for _, role := range []string{"tap", "send", "admin"} {
		a.clients[role] = g.connect(t, role, quietly...)
	}
	for _, user := range []string{"lab", "rival", "robot"} {
		a.clients[user] = a.as(t, user, nats.UserInfo(user, password))
	}
	env := a.workerEnv()
	if a.clients["worker"], err = nats.Connect(env["NATS_URL"], append(quietly, nats.UserInfo(env["NATS_USER"], env["NATS_PASSWORD"]))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.clients["worker"].Close)

	// Honest ones, also of the same users as attackers.
	a.watch("watcher", a.as(t, "watcher", nats.UserInfo("watcher", password)), "serial.>")
	a.watch("another tap", g.connect(t, "tap"), "serial.>")
	a.watch("another admin", g.connect(t, "admin"), "serial.>")
	a.watch("another of lab", a.as(t, "lab", nats.UserInfo("lab", password)), "serial.gps.rx")
	a.listen("gps", g.device)
	a.listen("other", a.other)
	a.speak()
	return a
}

var quietly = []nats.Option{nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), nats.NoReconnect()}

// workerEnv is what the worker has in its environment.
func (a *arena) workerEnv() map[string]string {
	a.t.Helper()
	env := map[string]string{}
	waitUntil(a.t, "the worker has an environment", func() bool {
		text, err := os.ReadFile(filepath.Join(a.dir, "env"))
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			env[name] = value
		}
		return err == nil
	})
	return env
}

// speak has the device of gps say numbered lines until the test ends.
func (a *arena) speak() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(a.device, "line %d\n", n); err != nil {
				a.spoil("the device cannot speak: %v", err)
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	a.t.Cleanup(func() { close(stop); <-stopped })
}

// listen notes what a device is sent that it should not be.
func (a *arena) listen(port string, device *simulator.Pty) {
	go func() { // ends when the device is closed
		var all []byte
		for buffer := make([]byte, 4096); ; {
			n, err := device.Read(buffer)
			if all = append(all, buffer[:n]...); err != nil {
				return
			}
			if port == "gps" {
				all = bytes.ReplaceAll(all, []byte(legal+"\n"), nil)
			}
			if len(all) > 0 && (port != "gps" || !bytes.HasPrefix([]byte(legal+"\n"), all)) {
				a.spoil("the device of %s was sent %q", port, all)
				all = nil
			}
		}
	}()
}

// watch has an honest client look at all that it sees.
func (a *arena) watch(name string, nc *nats.Conn, subject string) {
	next := -1
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		var n int
		switch _, err := fmt.Sscanf(string(m.Data), "line %d", &n); {
		case m.Subject == "serial.gps.sent" && string(m.Data) == legal+"\n":
		case m.Subject == "serial.gps.rx" && err == nil && (next < 0 || n == next):
			next = n + 1
			a.mu.Lock()
			a.seen[name]++
			a.mu.Unlock()
		case strings.HasSuffix(m.Subject, ".state") && strings.Contains(string(m.Data), `"open"`), strings.HasPrefix(m.Subject, "serial.supervisor.log."):
		default:
			a.spoil("%s sees %.100q on %s, and waits for line %d", name, m.Data, m.Subject, next)
			next = max(next, n+1)
		}
	})
	if err == nil {
		err = errors.Join(sub.SetPendingLimits(-1, -1), nc.Flush())
	}
	if err != nil {
		a.t.Fatal(err)
	}
	a.seen[name] = 0
}

func (a *arena) spoil(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.spoilt) < 10 {
		a.spoilt = append(a.spoilt, fmt.Sprintf(format, args...))
	}
}

// after waits until every honest client has seen some more lines: what was done before would have come to light.
func (a *arena) after(lines int) {
	a.t.Helper()
	count := func() map[string]int {
		a.mu.Lock()
		defer a.mu.Unlock()
		seen := map[string]int{}
		for name, n := range a.seen {
			seen[name] = n
		}
		return seen
	}
	before := count()
	waitUntil(a.t, "all honest clients see what the port receives", func() bool {
		for name, n := range count() {
			if n < before[name]+lines {
				return false
			}
		}
		return true
	})
}

// wantUnharmed wants the traffic to go on, and nothing to have come of an attack.
func (a *arena) wantUnharmed() {
	a.t.Helper()
	for _, nc := range a.clients {
		_ = nc.Flush() // of one that was cut off it fails
	}
	a.after(3)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.spoilt {
		a.t.Error(s)
	}
	a.spoilt = nil
}

// wantNothingDone looks at what attacks could have left.
func (a *arena) wantNothingDone() {
	a.t.Helper()
	var s ipc.Status
	if err := json.Unmarshal(a.mustRun(a.t, nil, "status", "--json"), &s); err != nil {
		a.t.Fatal(err)
	}
	if !s.Ready || s.Broker.Store != "ok" {
		a.t.Errorf("the gateway is not well: %v, store %s %s", s.NotReady, s.Broker.Store, s.Broker.StoreError)
	}
	for _, p := range s.Ports {
		if p.Rx.LostHistory+p.Tx.LostHistory+p.Tx.Queued > 0 || p.Lease != nil || p.Line != "115200 8N1" {
			a.t.Errorf("port %s: %+v", p.Name, p)
		}
	}
	for _, w := range s.Workers {
		if w.Restarts > 0 && w.Name != "w" || w.State != "running" {
			a.t.Errorf("worker %s: %+v", w.Name, w)
		}
	}
	// The history has what the port received from the beginning, once and in order.
	n := 0
	for line := range strings.Lines(string(a.mustRun(a.t, nil, "export", "gps", "--format", "raw"))) {
		if strings.TrimSpace(line) != "line "+strconv.Itoa(n) {
			a.t.Fatalf("line %d of the history is %q", n, line)
		}
		n++
	}
	if n == 0 {
		a.t.Error("the history is empty")
	}
	if out := a.mustRun(a.t, nil, "export", "other", "--format", "raw"); len(out) > 0 {
		a.t.Errorf("the history has of other: %.200q", out)
	}
}
