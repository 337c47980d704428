package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/servicemanager"
)

// gateway is a supervisor that is killed and started again, with its state folder and what is said of it.
type gateway struct {
	dir      string
	programs string
	manager  *servicemanager.Manager // keeps its descriptors; nil: nobody does
	log      *os.File                // what all its lives have printed

	mu       sync.Mutex // guards all below
	process  *os.Process
	ended    chan struct{} // closed when it has
	wanted   bool          // that it ends
	ends     []ending
	problems []problem
}

// ending is the end of a supervisor, with when its signal was sent and when it was gone, ns since 1970.
type ending struct {
	signal     syscall.Signal
	sent, gone int64
}

func newGateway(dir, programs string, keeps bool, config string) (*gateway, error) {
	g := &gateway{dir: dir, programs: programs}
	if err := os.WriteFile(filepath.Join(dir, "serialvisor.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	var err error
	if g.log, err = os.Create(filepath.Join(dir, "supervisor.log")); err != nil {
		return nil, err
	}
	if keeps {
		g.manager, err = servicemanager.Start(filepath.Join(dir, "notify"))
	}
	return g, err
}

func (g *gateway) stateDir() string { return filepath.Join(g.dir, "state") }

// start starts the supervisor, unless it runs.
func (g *gateway) start() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.process != nil {
		return nil
	}
	cmd := exec.Command(filepath.Join(g.programs, "supervisor"), "run", "--config", filepath.Join(g.dir, "serialvisor.yaml"), "--state-dir", g.stateDir())
	if g.manager != nil {
		var err error
		if cmd, err = g.manager.Command(cmd); err != nil {
			return err
		}
	}
	cmd.Stderr = g.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := cmd.Start()
	for _, f := range cmd.ExtraFiles {
		_ = f.Close()
	}
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	ended := make(chan struct{})
	g.process, g.ended, g.wanted = cmd.Process, ended, false
	go func() { // ends with the supervisor
		err := cmd.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.wanted {
			g.problems = append(g.problems, problem{time.Now().UnixNano(), fmt.Sprintf("the supervisor ended by itself: %v; see supervisor.log", err)})
		}
		g.process = nil
		close(ended)
	}()
	return nil
}

// end sends the supervisor a signal that ends it, and waits until it has. It returns false if none runs.
func (g *gateway) end(signal syscall.Signal) bool {
	g.mu.Lock()
	if g.process == nil || g.wanted {
		g.mu.Unlock()
		return false
	}
	g.wanted = true
	ended, sent := g.ended, time.Now().UnixNano()
	err := g.process.Signal(signal)
	if signal != syscall.SIGKILL {
		_ = g.process.Signal(syscall.SIGCONT) // it may be stopped
	}
	g.mu.Unlock()
	if err != nil {
		return false
	}
	select {
	case <-ended:
	case <-time.After(endLimit):
		g.fail(fmt.Sprintf("the supervisor did not end within %s of %v", endLimit, signal))
		g.mu.Lock()
		if g.process != nil {
			_ = g.process.Kill()
		}
		g.mu.Unlock()
		<-ended
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends = append(g.ends, ending{signal, sent, time.Now().UnixNano()})
	return true
}

// endLimit is how long a supervisor may take to end that was asked to; systemd is told 10 s.
const endLimit = 20 * time.Second

// pid is the supervisor's, or 0.
func (g *gateway) pid() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.process == nil || g.wanted {
		return 0
	}
	return g.process.Pid
}

func (g *gateway) fail(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.problems = append(g.problems, problem{time.Now().UnixNano(), text})
}

// close ends everything.
func (g *gateway) close() {
	g.end(syscall.SIGTERM)
	if g.manager != nil {
		if err := g.manager.Close(); err != nil {
			g.fail(err.Error())
		}
	}
	_ = g.log.Close()
}

// allOpen waits until all ports are open.
func (g *gateway) allOpen(ctx context.Context) error {
	return poll(ctx, "all ports are open", func() error {
		command := exec.CommandContext(ctx, filepath.Join(g.programs, "supervisor"), "status", "--json", "--state-dir", g.stateDir())
		out, err := command.Output()
		var s ipc.Status
		if err == nil {
			err = json.Unmarshal(out, &s)
		}
		for _, p := range s.Ports {
			if err == nil && p.State != ipc.Open {
				err = fmt.Errorf("port %s is %s: %s", p.Name, p.State, p.Error)
			}
		}
		return err
	})
}

// poll tries something until it works.
func poll(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not met: %s: %w", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// connect connects to the broker of the supervisor that runs, with the credentials that it has left in its folder. A
// connection that breaks is not made again.
func connect(stateDir string, role ipc.Role, options ...nats.Option) (*nats.Conn, error) {
	f, err := os.Open(filepath.Join(stateDir, role.EnvFile()))
	if err != nil {
		return nil, err
	}
	credentials, err := ipc.ReadEnvFile(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return credentials.Connect("chaos", append([]nats.Option{nats.NoReconnect(), nats.Timeout(2 * time.Second)}, options...)...)
}
