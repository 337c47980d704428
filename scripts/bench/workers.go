package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

const (
	manyWorkers   = 64
	ownKills      = 200
	watchdogLimit = 300 * time.Millisecond
	deafTimeout   = 500 * time.Millisecond
)

// beginning is when a worker has said READY=1, in nanoseconds of CLOCK_MONOTONIC.
type beginning struct {
	name string
	pid  int
	at   int64
}

// beginnings receives what workers say of their beginnings.
type beginnings struct {
	conn *net.UnixConn
	path string
}

func listenBeginnings(dir string) (*beginnings, error) {
	path := filepath.Join(dir, "begun")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	return &beginnings{conn, path}, err
}

// next is the next one, for which it waits 10 s.
func (b *beginnings) next() (of beginning, err error) {
	text := make([]byte, 200)
	_ = b.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := b.conn.Read(text)
	if err != nil {
		return of, fmt.Errorf("no worker begins: %w", err)
	}
	_, err = fmt.Sscan(string(text[:n]), &of.name, &of.pid, &of.at)
	return of, err
}

// runWorker is a worker that says when it begins. mode is what is odd about it.
func runWorker(mode string) error {
	if mode == printLines || mode == printEndless {
		return runPrinter(mode)
	}
	if mode == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	}
	if mode == "holder" { // has a child that keeps its output
		child := exec.Command("sleep", "1000")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return err
		}
	}
	supervisor, err := net.Dial("unixgram", os.Getenv(ipc.EnvNotify))
	if err != nil {
		return err
	}
	if _, err := supervisor.Write([]byte("READY=1")); err != nil {
		return err
	}
	begun := monotonic()
	us, err := net.Dial("unixgram", os.Getenv("BEGUN"))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(us, "%s %d %d", os.Getenv(ipc.EnvWorker), os.Getpid(), begun); err != nil {
		return err
	}
	every := time.Hour
	if us, err := strconv.Atoi(os.Getenv(ipc.EnvWatchdog)); err == nil {
		every = time.Duration(us) * time.Microsecond / 3
	}
	for range time.Tick(every) {
		if _, err := supervisor.Write([]byte("WATCHDOG=1")); err != nil {
			return err
		}
	}
	return nil
}

// startWorkers starts a gateway with workers, of which each is a name and its mode and further lines of its config.
func startWorkers(r *run, b *beginnings, workers map[string][]string) (running map[string]beginning, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	device, err := simulator.Open()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("name: bench\nbroker: {listen: 127.0.0.1:0}\nports:\n  dev: {device: %s}\nworkers:\n", device.Path())
	for name, w := range workers {
		config += fmt.Sprintf("  %s:\n    command: [%s, -worker, %s]\n    env: {BEGUN: %s}\n    notify: true\n", name, self, w[0], b.path)
		for _, line := range w[1:] {
			config += "    " + line + "\n"
		}
	}
	path := filepath.Join(r.dir, "c.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := r.command(nil, "bin/supervisor", "run", "--config", path, "--state-dir", r.state()); err != nil {
		return nil, err
	}
	running = map[string]beginning{}
	for range workers {
		of, err := b.next()
		if err != nil {
			return nil, err
		}
		running[of.name] = of
	}
	return running, nil
}

// benchWorkers measures how workers of the user's own are seen to.
func benchWorkers() error {
	fmt.Fprintln(os.Stderr, "workers of the user's own")
	gatesHead()
	for _, measure := range []func(*run, *beginnings) error{killOwn, killMany, stopWatched, stopDeaf, killHolder, killSupervisor} {
		r, err := newRun()
		if err != nil {
			return err
		}
		b, err := listenBeginnings(r.dir)
		if err == nil {
			err = measure(r, b)
		}
		r.stop()
		if err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

func killOwn(r *run, b *beginnings) error {
	running, err := startWorkers(r, b, map[string][]string{"w": {"plain"}})
	if err != nil {
		return err
	}
	took, err := kills9(b, running["w"], ownKills)
	if err != nil {
		return err
	}
	fmt.Printf("| kill -9 of a worker to its successor's READY, p50 of %d | | %.2f ms | |\n", ownKills, percentile(took, 50)/1000)
	atMost("the same, p99", percentile(took, 99)/1000, 25, " ms")
	return nil
}

// kills9 kills a worker again and again.
func kills9(b *beginnings, w beginning, times int) (took []time.Duration, err error) {
	for range times {
		time.Sleep(50 * time.Millisecond)
		begun := monotonic()
		if err := unix.Kill(w.pid, unix.SIGKILL); err != nil {
			return nil, err
		}
		if w, err = b.next(); err != nil {
			return nil, err
		}
		took = append(took, time.Duration(w.at-begun))
	}
	return took, nil
}

func killMany(r *run, b *beginnings) error {
	workers := map[string][]string{}
	for n := range manyWorkers {
		workers[fmt.Sprint("w", n)] = []string{"plain"}
	}
	running, err := startWorkers(r, b, workers)
	if err != nil {
		return err
	}
	var took []time.Duration
	for range 5 {
		time.Sleep(time.Second)
		begun := monotonic()
		for _, w := range running {
			if err := unix.Kill(w.pid, unix.SIGKILL); err != nil {
				return err
			}
		}
		var last int64
		for range running {
			of, err := b.next()
			if err != nil {
				return err
			}
			running[of.name], last = of, max(last, of.at)
		}
		took = append(took, time.Duration(last-begun))
	}
	atMost(fmt.Sprintf("%d workers killed at once to the last one's READY, median of %d", manyWorkers, len(took)), percentile(took, 50)/1000, 500, " ms")
	return nil
}

func stopWatched(r *run, b *beginnings) error {
	running, err := startWorkers(r, b, map[string][]string{"w": {"plain", fmt.Sprintf("watchdog: %s", watchdogLimit)}})
	if err != nil {
		return err
	}
	var took []time.Duration
	for w := running["w"]; len(took) < 20; {
		time.Sleep(2 * watchdogLimit)
		begun := monotonic()
		if err := unix.Kill(w.pid, unix.SIGSTOP); err != nil {
			return err
		}
		if w, err = b.next(); err != nil {
			return err
		}
		took = append(took, time.Duration(w.at-begun))
	}
	limit := float64(watchdogLimit.Milliseconds()) + 50
	atMost(fmt.Sprintf("SIGSTOP of a worker with a watchdog of %s to its successor's READY, longest of %d", watchdogLimit, len(took)), percentile(took, 100)/1000, limit, " ms")
	return nil
}

func stopDeaf(r *run, b *beginnings) error {
	if _, err := startWorkers(r, b, map[string][]string{"w": {"deaf", fmt.Sprintf("stop_timeout: %s", deafTimeout)}}); err != nil {
		return err
	}
	nc, err := r.connect(ipc.RoleAdmin)
	if err != nil {
		return err
	}
	defer nc.Close()
	var took []time.Duration
	subjects := ipc.Subjects{Root: ipc.DefaultRoot}
	for range 10 {
		begun := time.Now()
		m, err := nc.Request(subjects.Worker("w", ipc.StopWorker), nil, 10*time.Second)
		took = append(took, time.Since(begun))
		if err == nil && m.Header.Get(ipc.HeaderError) != "" {
			err = errors.New(m.Header.Get(ipc.HeaderError))
		}
		if err != nil {
			return err
		}
		if _, err := nc.Request(subjects.Worker("w", ipc.StartWorker), nil, 10*time.Second); err != nil {
			return err
		}
		if _, err := b.next(); err != nil {
			return err
		}
	}
	limit := float64(deafTimeout.Milliseconds()) + 50
	atMost(fmt.Sprintf("a worker that ignores SIGTERM is dead, with stop_timeout: %s, longest of %d", deafTimeout, len(took)), percentile(took, 100)/1000, limit, " ms")
	return nil
}

func killHolder(r *run, b *beginnings) error {
	running, err := startWorkers(r, b, map[string][]string{"w": {"holder"}})
	if err != nil {
		return err
	}
	took, err := kills9(b, running["w"], 20)
	if err == nil {
		atMost("kill -9 of a worker whose child holds its output to its successor's READY, p50", percentile(took, 50)/1000, 20, " ms")
	}
	return err
}

func killSupervisor(r *run, b *beginnings) error {
	workers := map[string][]string{}
	for n := range manyWorkers {
		workers[fmt.Sprint("w", n)] = []string{"holder"}
	}
	running, err := startWorkers(r, b, workers)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := r.cmds[0].Process.Kill(); err != nil {
		return err
	}
	for alive(running) {
		if time.Since(begun) > 10*time.Second {
			return errors.New("workers outlive their supervisor")
		}
	}
	atMost(fmt.Sprintf("kill -9 of the supervisor to the death of %d workers and their children", manyWorkers), time.Since(begun).Seconds()*1000, 100, " ms")
	return nil
}

// alive says whether any worker or child of one lives, of which all have the variable BEGUN.
func alive(running map[string]beginning) bool {
	for _, w := range running {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", w.pid)); err == nil && len(line) > 0 { // one that was not reaped has none
			return true
		}
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		if !bytes.HasPrefix(line, []byte("sleep\x001000")) {
			continue
		}
		environ, _ := os.ReadFile(strings.TrimSuffix(path, "cmdline") + "environ")
		if bytes.Contains(environ, []byte("BEGUN=")) {
			return true
		}
	}
	return false
}
