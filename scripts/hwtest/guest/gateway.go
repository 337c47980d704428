package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/printout"
)

const program = "/bin/supervisor"

// port is a port of a config: its name, its device if no key says it, and further keys.
type port struct {
	name, device string
	keys         []string // each a line of YAML
}

// gateway is a supervisor that runs, and connections to its broker.
type gateway struct {
	dir       string
	cmd       *exec.Cmd
	log       *printout.Output
	ended     chan struct{} // closed when it has; err is set then
	err       error
	tap, send *nats.Conn
	subjects  ipc.Subjects
	refused   atomic.Int32 // attempts to queue a frame that nobody took
}

// writeConfig makes a folder with a config.
func writeConfig(ports []port) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "gateway-"); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("name: hwtest\nbroker: {listen: 127.0.0.1:0}\nports:\n")
	for _, p := range ports {
		fmt.Fprintf(&b, "  %s:\n", p.name)
		if p.device != "" {
			fmt.Fprintf(&b, "    device: %s\n", p.device)
		}
		for _, key := range p.keys {
			fmt.Fprintf(&b, "    %s\n", key)
		}
	}
	return dir, os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(b.String()), 0o600)
}

// startGateway starts a supervisor and waits until it answers.
func startGateway(ports ...port) (*gateway, error) {
	dir, err := writeConfig(ports)
	if err != nil {
		return nil, err
	}
	g := &gateway{dir: dir, log: &printout.Output{}, ended: make(chan struct{}), subjects: ipc.Subjects{Root: ipc.DefaultRoot}}
	g.cmd = exec.Command(program, "run", "--config", filepath.Join(dir, "c.yaml"), "--state-dir", filepath.Join(dir, "state"))
	g.cmd.Stderr = g.log
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the supervisor, which stop sees to
		g.err = g.cmd.Wait()
		close(g.ended)
	}()
	err = until("the supervisor is ready", func() bool {
		select {
		case <-g.ended:
			return true
		default:
			return strings.Contains(g.log.String(), "msg=ready")
		}
	})
	if err == nil {
		err = g.connect()
	}
	if err != nil {
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

func (g *gateway) connect() error {
	for role, to := range map[ipc.Role]**nats.Conn{ipc.RoleTap: &g.tap, ipc.RoleSend: &g.send} {
		f, err := os.Open(filepath.Join(g.dir, "state", role.EnvFile()))
		if err != nil {
			return err
		}
		c, err := ipc.ReadEnvFile(f)
		_ = f.Close()
		if err != nil {
			return err
		}
		c.InboxPrefix = "_INBOX_" + string(role)
		if *to, err = c.Connect("hwtest " + string(role)); err != nil {
			return err
		}
	}
	return nil
}

// withGateway runs a supervisor during use. Where something goes wrong its log goes to the console.
func withGateway(ports []port, use func(*gateway) error) error {
	g, err := startGateway(ports...)
	if err != nil {
		return err
	}
	err = use(g)
	err = errors.Join(err, g.stop())
	if err != nil {
		fmt.Printf("--- %v\n%s", err, g.log)
	}
	return err
}

// stop asks the supervisor to end, and makes it.
func (g *gateway) stop() error {
	defer func() { _ = os.RemoveAll(g.dir) }()
	for _, nc := range []*nats.Conn{g.tap, g.send} {
		if nc != nil {
			nc.Close()
		}
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { _ = g.cmd.Process.Kill() })
	defer late.Stop()
	if <-g.ended; g.err != nil {
		return fmt.Errorf("the supervisor ended with %w", g.err)
	}
	return nil
}

func (g *gateway) pid() int { return g.cmd.Process.Pid }

// status asks for the supervisor's status.
func (g *gateway) status() (s ipc.Status, err error) {
	m, err := g.tap.Request(g.subjects.Status(), nil, patience)
	if err != nil {
		return s, fmt.Errorf("ask for status: %w", err)
	}
	return s, json.Unmarshal(m.Data, &s)
}

// port is the status of one port.
func (g *gateway) port(name string) (ipc.PortStatus, error) {
	s, err := g.status()
	for _, p := range s.Ports {
		if p.Name == name {
			return p, err
		}
	}
	return ipc.PortStatus{}, errors.Join(err, fmt.Errorf("status has no port %s", name))
}

// worker is the status of one worker.
func (g *gateway) worker(name string) (ipc.WorkerStatus, error) {
	s, err := g.status()
	for _, w := range s.Workers {
		if w.Name == name {
			return w, err
		}
	}
	return ipc.WorkerStatus{}, errors.Join(err, fmt.Errorf("status has no worker %s", name))
}

// await waits until a port's status is as it should be.
func (g *gateway) await(name, what string, met func(ipc.PortStatus) bool) error {
	var last ipc.PortStatus
	err := until(name+" "+what, func() bool {
		p, err := g.port(name)
		if err == nil {
			last = p
		}
		return err == nil && met(p)
	})
	if err != nil {
		err = fmt.Errorf("%w; it is %s %q", err, last.State, last.Error)
	}
	return err
}

// awaitOpen waits until ports are open.
func (g *gateway) awaitOpen(names ...string) error {
	for _, name := range names {
		if err := g.await(name, "is open", func(p ipc.PortStatus) bool { return p.State == ipc.Open }); err != nil {
			return err
		}
	}
	return nil
}

// queue hands a frame to a port and returns when the queue has it. That nobody took it is said when nothing was stored, as while the store
// is started again; then it is tried again, as senders do, and counted.
func (g *gateway) queue(port, frame string) error {
	var m *nats.Msg
	var err error
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		m, err = g.send.Request(g.subjects.Tx(port), []byte(frame), patience)
		if !errors.Is(err, nats.ErrNoResponders) || time.Since(begun) >= patience {
			break
		}
		g.refused.Add(1)
	}
	if err != nil {
		return fmt.Errorf("queue a frame for %s: %w", port, err)
	}
	var ack struct{ Error *struct{ Description string } }
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Error != nil {
		return fmt.Errorf("queue a frame for %s: %s", port, m.Data)
	}
	return nil
}

// aboutStore is what the gateway's log says of its store.
func (g *gateway) aboutStore() string {
	var about []string
	for line := range strings.Lines(g.log.String()) {
		if strings.Contains(line, "history and queues") {
			about = append(about, strings.TrimSpace(line))
		}
	}
	return strings.Join(about, "; ")
}

// received collects the frames of a port.
type received struct {
	sub *nats.Subscription
	mu  sync.Mutex // guards all below
	all []string
	gap int // frames flagged so
}

func (g *gateway) receive(port string) (*received, error) {
	r := &received{}
	sub, err := g.tap.Subscribe(g.subjects.Rx(port), func(m *nats.Msg) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, string(m.Data))
		if strings.Contains(m.Header.Get(ipc.HeaderFlags), "gap") {
			r.gap++
		}
	})
	if err != nil {
		return nil, err
	}
	r.sub = sub
	return r, g.tap.Flush()
}

func (r *received) frames() (frames []string, gaps int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[:len(r.all):len(r.all)], r.gap
}
