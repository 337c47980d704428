package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// receipt is a line that reached a subscriber, and when, in nanoseconds of CLOCK_MONOTONIC.
type receipt struct {
	at   int64
	line string
}

// gateway is a program under test. Start has it serve a device; with echo it sends back what it receives, else what it
// receives comes out of the channel.
type gateway struct {
	name  string
	start func(r *run, device string, echo bool) (<-chan receipt, error)
}

// run is one start of a gateway: its processes and folder, which stop clears away.
type run struct {
	ctx  context.Context
	stop func()
	dir  string
	log  io.Writer // gets what programs print on stderr; nil: a file for each in dir does
	cmds []*exec.Cmd
}

func newRun() (*run, error) {
	dir, err := os.MkdirTemp("", "serialvisor-bench-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{ctx: ctx, dir: dir}
	r.stop = func() {
		cancel()
		for _, cmd := range r.cmds {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		}
		_ = os.RemoveAll(dir)
	}
	return r, nil
}

// command starts a program in a process group of its own.
func (r *run) command(out io.Writer, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, r.log
	if r.log == nil {
		log, err := os.Create(filepath.Join(r.dir, filepath.Base(name)+".log"))
		if err != nil {
			return err
		}
		defer func() { _ = log.Close() }()
		cmd.Stderr = log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	r.cmds = append(r.cmds, cmd)
	return nil
}

// article is the Python program.
func article(r *run, device string, echo bool) (<-chan receipt, error) {
	mode := "oneway"
	if echo {
		mode = "echo"
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if err := r.command(writer, "/usr/bin/python3", "scripts/bench/article.py", device, mode); err != nil {
		return nil, err
	}
	_ = writer.Close()
	lines := make(chan receipt, 1<<16)
	go func() { // ends when the program is stopped
		defer func() { _ = reader.Close() }()
		for in := bufio.NewScanner(reader); in.Scan(); {
			at, line, _ := strings.Cut(in.Text(), " ")
			ns, _ := strconv.ParseInt(at, 10, 64)
			lines <- receipt{ns, line}
		}
	}()
	return lines, nil
}

// ser2net serves the device over TCP; options are its connection's.
func ser2net(options string) func(*run, string, bool) (<-chan receipt, error) {
	return func(r *run, device string, echo bool) (<-chan receipt, error) {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		config := fmt.Sprintf("connection: &dev\n  accepter: tcp,%s\n  connector: serialdev,%s,115200n81,local\n%s", strings.Replace(address, ":", ",", 1), device, options)
		path := filepath.Join(r.dir, "ser2net.yaml")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			return nil, err
		}
		if err := r.command(nil, "ser2net", "-n", "-c", path); err != nil {
			return nil, err
		}
		return overTCP(r, address, echo)
	}
}

// socat serves the device over TCP.
func socat(r *run, device string, echo bool) (<-chan receipt, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	if err := r.command(nil, "socat", device+",raw,echo=0", "TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,nodelay"); err != nil {
		return nil, err
	}
	return overTCP(r, address, echo)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// overTCP is a client of ser2net or socat.
func overTCP(r *run, address string, echo bool) (<-chan receipt, error) {
	var conn net.Conn
	err := until(func() (err error) {
		conn, err = net.Dial("tcp", address)
		return err
	})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(r.ctx, func() { _ = conn.Close() })
	lines := make(chan receipt, 1<<16)
	go func() { // ends when the connection is closed
		for in := bufio.NewReader(conn); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if echo {
				_, _ = io.WriteString(conn, line)
			} else {
				lines <- receipt{monotonic(), strings.TrimSuffix(line, "\n")}
			}
		}
	}()
	return lines, nil
}

// ours is serialvisor with a kind of queue.
func ours(queue string) func(*run, string, bool) (<-chan receipt, error) {
	return func(r *run, device string, echo bool) (<-chan receipt, error) {
		config := fmt.Sprintf("name: bench\nbroker: {listen: 127.0.0.1:0}\nports:\n  dev:\n    device: %s\n    queue: %s\n", device, queue)
		if echo {
			config += "    forward_to: [dev]\n"
		}
		path := filepath.Join(r.dir, "c.yaml")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			return nil, err
		}
		if err := r.command(nil, "bin/supervisor", "run", "--config", path, "--state-dir", r.state()); err != nil {
			return nil, err
		}
		if err := until(func() error {
			s, err := r.status()
			if err == nil && (s.Ports[0].State != ipc.Open || !s.Ready) {
				err = fmt.Errorf("the port is %s", s.Ports[0].State)
			}
			return err
		}); err != nil || echo {
			return nil, err
		}
		return r.subscribe()
	}
}

func (r *run) state() string { return filepath.Join(r.dir, "state") }

func (r *run) status() (s ipc.Status, err error) {
	out, err := exec.Command("bin/supervisor", "status", "--json", "--state-dir", r.state()).Output()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// credentials are those that anybody would use.
func (r *run) credentials(role ipc.Role) (c ipc.Credentials, err error) {
	f, err := os.Open(filepath.Join(r.state(), role.EnvFile()))
	if err != nil {
		return c, err
	}
	defer func() { _ = f.Close() }()
	return ipc.ReadEnvFile(f)
}

// connect is a client with the credentials of a role.
func (r *run) connect(role ipc.Role) (*nats.Conn, error) {
	credentials, err := r.credentials(role)
	if err != nil {
		return nil, err
	}
	return credentials.Connect("bench")
}

// subscribe is a subscriber to what the port receives.
func (r *run) subscribe() (<-chan receipt, error) {
	nc, err := r.connect(ipc.RoleTap)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(r.ctx, nc.Close)
	lines := make(chan receipt, 1<<20)
	sub, err := nc.Subscribe(ipc.Subjects{Root: ipc.DefaultRoot}.Rx("dev"), func(m *nats.Msg) {
		lines <- receipt{monotonic(), string(m.Data)}
	})
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = nc.Flush()
	}
	return lines, err
}

// until tries something until it works, for ten seconds.
func until(try func() error) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}
