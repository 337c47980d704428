package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// startWithWorkers starts a supervisor with some workers, of which each is a name and lines of its config.
func startWithWorkers(t *testing.T, workers ...[]string) *gateway {
	t.Helper()
	g := newOpenGateway(t)
	g.addWorkers(t, workers...)
	g.run(t)
	return g
}

func (g *gateway) addWorkers(t *testing.T, workers ...[]string) {
	t.Helper()
	config, err := os.OpenFile(filepath.Join(g.dir, "c.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := "workers:\n"
	for _, w := range workers {
		text += "  " + w[0] + ":\n    " + strings.Join(w[1:], "\n    ") + "\n"
	}
	if _, err := config.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := config.Close(); err != nil {
		t.Fatal(err)
	}
}

// player is a worker that this test's program plays.
func player(t *testing.T, name, role string, settings ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{name, fmt.Sprintf("command: [%s]", self), fmt.Sprintf("env: {%s: %s}", workerRole, role)}, settings...)
}

// worker is what the status says of a worker.
func (g *gateway) worker(t *testing.T, name string) ipc.WorkerStatus {
	t.Helper()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range s.Workers {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("there is no worker %s in %+v", name, s.Workers)
	return ipc.WorkerStatus{}
}

func (g *gateway) awaitWorker(t *testing.T, name string, state ipc.WorkerState) (w ipc.WorkerStatus) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("worker %s is %s", name, state), func() bool {
		w = g.worker(t, name)
		return w.State == state
	})
	return w
}

// processesWith lists the processes whose command line has some text.
func processesWith(text string) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil && bytes.Contains(line, []byte(text)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// A worker is a line of shell, and its lines are queued.
func TestStdioWorker(t *testing.T) {
	g := startWithWorkers(t, []string{"echo", `command: 'while read -r line; do echo "got $line"; done'`, "stdio: true"})
	g.awaitWorker(t, "echo", ipc.WorkerRunning)
	heard := g.hearUntil("got last\n")
	var want strings.Builder
	for n := range 100 {
		fmt.Fprintf(g.device, "line %d\\\n", n)
		fmt.Fprintf(&want, "got line %d\\\n", n)
	}
	fmt.Fprint(g.device, "last\n")
	select {
	case got := <-heard:
		if string(got) != want.String()+"got last\n" {
			t.Errorf("the device has got %q", got)
		}
	case <-time.After(patience):
		t.Fatalf("no answer\n%s", g.errors)
	}
}

// What a worker prints last is queued, though it has ended.
func TestStdioWorkerLastWords(t *testing.T) {
	g := startWithWorkers(t, []string{"once", "command: seq 1 3000", "stdio: true", "restart: never", "after: gps"})
	got := string(<-g.hearUntil("3000\n"))
	if lines := strings.Fields(got); len(lines) != 3000 || lines[0] != "1" || lines[1234] != "1235" {
		t.Errorf("the device has got %d lines: %.60q…", len(lines), got)
	}
	if w := g.awaitWorker(t, "once", ipc.WorkerStopped); w.LastExit != "exit 0" {
		t.Errorf("it ended with %q", w.LastExit)
	}
}

func TestWorkerDiesAndComesBack(t *testing.T) {
	g := startWithWorkers(t, player(t, "w", "plain", "notify: true"))
	before := g.awaitWorker(t, "w", ipc.WorkerRunning)
	if before.Message != "at work as plain" {
		t.Errorf("its status is %q", before.Message)
	}
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var after ipc.WorkerStatus
	waitUntil(t, "another is at work", func() bool {
		after = g.worker(t, "w")
		return after.State == ipc.WorkerRunning && after.PID != before.PID
	})
	if after.Restarts != 1 || after.LastExit != "signal: killed" {
		t.Errorf("status %+v", after)
	}
}

func TestWorkerPolicies(t *testing.T) {
	g := startWithWorkers(t,
		[]string{"fails", "command: exit 3", "restart: never"},
		[]string{"ends", "command: exit 0", "restart: on-failure"},
		[]string{"again", "command: exit 0"},
		[]string{"nowhere", "command: [./no-such-program]"},
	)
	if w := g.awaitWorker(t, "fails", ipc.WorkerFailed); w.LastExit != "exit 3" || w.Restarts != 0 {
		t.Errorf("fails: %+v", w)
	}
	if w := g.awaitWorker(t, "ends", ipc.WorkerStopped); w.LastExit != "exit 0" || w.Restarts != 0 {
		t.Errorf("ends: %+v", w)
	}
	waitUntil(t, "it is started again and again", func() bool { return g.worker(t, "again").Restarts > 2 })
	if w := g.awaitWorker(t, "nowhere", ipc.WorkerBackoff); !strings.Contains(w.LastExit, "there is no program") {
		t.Errorf("nowhere: %+v", w)
	}
}

// A daemon that a worker has started, in a session of its own, dies with it.
func TestWorkerTakesItsFamilyAlong(t *testing.T) {
	mark := fmt.Sprintf("77%d", os.Getpid())
	for name, command := range map[string]string{
		"marked":  fmt.Sprintf("setsid sh -c 'sleep %s & exec sleep %[1]s' & sleep %[1]s", mark),
		"cleared": fmt.Sprintf("env -i setsid sh -c 'sleep %s & exec sleep %[1]s' & exec sleep %[1]s", mark),
	} {
		t.Run(name, func(t *testing.T) {
			g := startWithWorkers(t, []string{"w", fmt.Sprintf("command: %q", command), "stop_timeout: 1s"})
			waitUntil(t, "its family is there", func() bool { return len(processesWith(mark)) >= 3 })
			g.mustRun(t, nil, "stop", "w")
			if left := processesWith(mark); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
			g.mustRun(t, nil, "start", "w")
			waitUntil(t, "its family is there again", func() bool { return len(processesWith(mark)) >= 3 })
			if err := g.process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-g.ended
			killed := time.Now()
			waitUntil(t, "all are dead", func() bool {
				left := processesWith(mark)
				if name == "cleared" {
					return len(left) <= 2 // who could know them without their supervisor
				}
				return len(left) == 0
			})
			t.Logf("%s after the supervisor's", time.Since(killed))
			for _, pid := range processesWith(mark) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			g.run(t)
			waitUntil(t, "one family is there", func() bool { return len(processesWith(mark)) >= 3 })
		})
	}
}

func TestDeafWorkerIsKilled(t *testing.T) {
	g := startWithWorkers(t, player(t, "w", "deaf", "notify: true", "stop_timeout: 700ms"))
	g.awaitWorker(t, "w", ipc.WorkerRunning)
	begun := time.Now()
	g.mustRun(t, nil, "stop", "w")
	if took := time.Since(begun); took < 700*time.Millisecond {
		t.Errorf("it took %s, and stop_timeout is 700ms", took)
	}
	if w := g.worker(t, "w"); w.State != ipc.WorkerStopped || w.LastExit != "signal: killed" {
		t.Errorf("status %+v", w)
	}
}

func TestHungWorkerIsReplaced(t *testing.T) {
	g := startWithWorkers(t, player(t, "w", "plain", "notify: true", "watchdog: 500ms"))
	before := g.awaitWorker(t, "w", ipc.WorkerRunning)
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var after ipc.WorkerStatus
	waitUntil(t, "another is at work", func() bool {
		after = g.worker(t, "w")
		return after.State == ipc.WorkerRunning && after.PID != before.PID
	})
	if !strings.Contains(after.LastExit, "WATCHDOG=1 within 500ms") {
		t.Errorf("status %+v", after)
	}
}

func TestWorkersWaitForOthers(t *testing.T) {
	g := startWithWorkers(t, player(t, "second", "plain", "notify: true", "after: [first, gps]"), player(t, "first", "slow", "notify: true", "start_timeout: 1m"))
	g.awaitWorker(t, "first", ipc.WorkerStarting)
	if w := g.awaitWorker(t, "second", ipc.WorkerStarting); w.PID != 0 || w.Message != "waits for first" {
		t.Errorf("second: %+v", w)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "first.go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.awaitWorker(t, "second", ipc.WorkerRunning)
}

// However many want a worker restarted at once, there is never a second one.
func TestRestartsAtOnce(t *testing.T) {
	g := startWithWorkers(t, player(t, "w", "plain"))
	g.awaitWorker(t, "w", ipc.WorkerRunning)
	nc := g.connect(t, "admin")
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			if m, err := nc.Request("serial.supervisor.worker.w.restart", nil, 3*patience); err != nil || m.Header.Get("Nats-Service-Error") != "" {
				t.Errorf("restart: %v, %v", m, err)
			}
		})
	}
	group.Wait()
	if w := g.worker(t, "w"); w.State != ipc.WorkerRunning || w.Restarts < 1 {
		t.Errorf("status %+v", w)
	}
	if _, err := os.Stat(filepath.Join(g.dir, "w.two")); err == nil {
		t.Error("there were two at once")
	}
}

// What a worker prints is for those who tap it too, and a worker that prints without end hurts nobody.
func TestWorkerOutput(t *testing.T) {
	g := startWithWorkers(t, []string{"loud", "command: [yes, a flood of words]", "restart: never"},
		[]string{"w", `command: 'echo "<4>careful"; echo plain >&2; printf "no end"; sleep 1000 & exit 3'`, "restart: never", "after: gps"})
	nc := g.connect(t, "tap")
	sub, err := nc.SubscribeSync("serial.supervisor.log.w")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if w := g.awaitWorker(t, "w", ipc.WorkerFailed); w.LastExit != "exit 3" {
		t.Errorf("status %+v", w)
	}
	waitUntil(t, "its lines are in the log", func() bool {
		log := g.errors.String()
		return strings.Contains(log, "level=WARN msg=careful worker=w stream=stdout") && strings.Contains(log, "level=INFO msg=plain worker=w stream=stderr") &&
			strings.Contains(log, `msg="no end"`)
	})
	g.mustRun(t, nil, "restart", "w")
	got := map[string]string{}
	for range 3 {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		got[string(m.Data)] = m.Header.Get("Serial-Stream") + " " + m.Header.Get("Serial-Level")
	}
	if got["careful"] != "stdout WARN" || got["plain"] != "stderr INFO" || got["no end"] != "stdout INFO" {
		t.Errorf("a tap has got %v", got)
	}
	waitUntil(t, "lines are left out", func() bool { return strings.Contains(g.errors.String(), "lines were left out") })
	before := g.awaitWorker(t, "loud", ipc.WorkerRunning)
	fmt.Fprint(g.device, "through\n")
	g.await(t, "traffic goes on", func(p portNumbers) bool { return p.Rx.Frames > 0 })
	if after := g.worker(t, "loud"); after.PID != before.PID {
		t.Errorf("it was replaced: %+v", after)
	}
	if size := residentKiB(t, g.process.Pid); size > 300_000 {
		t.Errorf("the supervisor has %d KiB", size)
	}
}

// residentKiB is how much memory a process has.
func residentKiB(t *testing.T, pid int) (n int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	if _, text, ok := strings.Cut(string(status), "VmRSS:"); ok {
		_, _ = fmt.Sscan(text, &n)
	}
	return n
}
