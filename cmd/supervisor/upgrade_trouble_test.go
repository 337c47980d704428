package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// The guard of the workers' families dies in the middle of an upgrade: there is another one, and the workers are supervised as before.
func TestGuardDiesDuringAnUpgrade(t *testing.T) {
	g := newOpenGateway(t)
	g.addWorkers(t, player(t, "watched", "plain", "notify: true", "directory: "+g.dir))
	g.install(t)
	g.run(t)
	pid := g.awaitWorker(t, "watched", ipc.WorkerRunning).PID
	guards := g.guards(t)
	if len(guards) != 1 {
		t.Fatalf("there are the guards %v", guards)
	}
	g.between(t, "kill", guards[0])
	g.mustRun(t, nil, "upgrade")
	waitUntil(t, "there is another guard", func() bool {
		now := g.guards(t)
		return len(now) == 1 && now[0] != guards[0]
	})
	if w := g.awaitWorker(t, "watched", ipc.WorkerRunning); w.PID != pid {
		t.Errorf("the worker's process %d has become %d", pid, w.PID)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the worker is replaced", func() bool {
		w := g.worker(t, "watched")
		return w.State == ipc.WorkerRunning && w.PID != pid
	})
	g.mustRun(t, nil, "restart", "watched")
}

// polite is a worker that notes in a file when it is asked to end.
func (g *gateway) polite() []string {
	return []string{"polite", `command: "trap 'echo asked > asked; exit' TERM; while :; do sleep 0.05; done"`, "directory: " + g.dir}
}

// wantAsked wants the polite worker to have been asked to end, in a gateway that has ended.
func (g *gateway) wantAsked(t *testing.T) {
	t.Helper()
	path := filepath.Join(g.dir, "asked")
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the worker was not asked to end: %v\n%s", err, g.errors)
	}
	_ = os.Remove(path)
}

// Whoever stops the supervisor is heard at every moment of an upgrade, and workers are asked to end as at any stop.
func TestStopIsHeardDuringAnUpgrade(t *testing.T) {
	upgrade := func(t *testing.T, g *gateway) {
		if err := g.process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
	}
	for when, stop := range map[string]func(*testing.T, *gateway){
		"the old program runs": func(t *testing.T, g *gateway) {
			upgrade(t, g)
			waitUntil(t, "it upgrades", func() bool { return strings.Contains(g.errors.String(), "msg=upgrading") })
			if err := g.process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		},
		"all is passed on": func(t *testing.T, g *gateway) {
			goOn := g.holdLog(t)
			defer goOn()
			upgrade(t, g)
			// They are taken away when all else is done. Then what is left of the log is waited for, which nobody reads.
			waitUntil(t, "the credentials are gone", func() bool {
				_, err := os.Stat(filepath.Join(g.dir, "state", "admin.env"))
				return err != nil
			})
			if err := g.process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		},
		"the new program begins": func(t *testing.T, g *gateway) {
			g.between(t, "stop")
			upgrade(t, g)
		},
	} {
		t.Run(when, func(t *testing.T) {
			g := newOpenGateway(t)
			g.addWorkers(t, g.polite())
			g.install(t)
			g.run(t)
			g.awaitWorker(t, "polite", ipc.WorkerRunning)
			stop(t, g)
			if <-g.ended; g.err != nil {
				t.Fatalf("it ended with %v\n%s", g.err, g.errors)
			}
			g.wantAsked(t)
			if left := g.guards(t); len(left) > 0 {
				t.Errorf("the guards %v are left", left)
			}
		})
	}
}

// holdLog has the gateway's log not be read any more, until goOn is called.
func (g *gateway) holdLog(t *testing.T) (goOn func()) {
	t.Helper()
	g.errors.hold.Lock()
	// Its pipe is full then. It is opened anew, as not to block is a matter of each opening.
	pipe, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", g.process.Pid), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pipe.Close() }()
	raw, err := pipe.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	full := 0 // looks in which nothing fitted: what was read before is written on meanwhile
	waitUntil(t, "the pipe is full", func() bool {
		_ = raw.Control(func(fd uintptr) {
			if _, err = syscall.Write(int(fd), []byte("\n")); err != nil {
				full++
			}
		})
		for err == nil {
			_ = raw.Control(func(fd uintptr) { _, err = syscall.Write(int(fd), bytes.Repeat([]byte("\n"), 1024)) })
		}
		return full > 2
	})
	return g.errors.hold.Unlock
}

// A reload that is asked for during an upgrade does not end it.
func TestReloadDuringAnUpgrade(t *testing.T) {
	g := newOpenGateway(t)
	g.install(t)
	g.run(t)
	for round := range 4 {
		if err := g.process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "it stops", func() bool { return strings.Count(g.errors.String(), "msg=stopped") > round })
		for end := time.Now().Add(patience); strings.Count(g.errors.String(), "msg=ready") < round+2; <-time.After(time.Millisecond) {
			_ = g.process.Signal(syscall.SIGHUP) // one that has ended is found below
			select {
			case <-g.ended:
				t.Fatalf("round %d: it ended with %v\n%s", round, g.err, g.errors)
			default:
			}
			if time.Now().After(end) {
				t.Fatalf("round %d: no supervisor has taken over\n%s", round, g.errors)
			}
		}
		g.await(t, "it answers", func(portNumbers) bool { return true })
		g.install(t)
	}
}

// What a new supervisor finds that cannot go on is ended in order.
func TestWorkersAreAskedToEndAfterAFailedUpgrade(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(g *gateway) []any
		code int
		want string
	}{
		{"the config has a mistake now", func(g *gateway) []any { return []any{"spoil", filepath.Join(g.dir, "c.yaml")} }, 2, "c.yaml:1:"},
		{"the state folder cannot be taken", func(g *gateway) []any { return []any{"remove", filepath.Join(g.programs, "reader")} }, 1, "reader is missing"},
		{"the store cannot be had", func(g *gateway) []any { return []any{"spoil", filepath.Join(g.dir, "state", "passwords")} }, 1, "passwords is damaged"},
	} {
		t.Run(c.what, func(t *testing.T) {
			g := newOpenGateway(t)
			g.addWorkers(t, g.polite())
			g.install(t)
			g.run(t)
			g.awaitWorker(t, "polite", ipc.WorkerRunning)
			g.between(t, c.do(g)...)
			if err := g.process.Signal(syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			<-g.ended
			var exit *exec.ExitError
			if !errors.As(g.err, &exit) || exit.ExitCode() != c.code || !strings.Contains(g.errors.String(), c.want) {
				t.Errorf("it ended with %v, want exit code %d and %q\n%s", g.err, c.code, c.want, g.errors)
			}
			g.wantAsked(t)
		})
	}
}

// The program is spoilt after it has found the config good: the one that runs goes on, as after an upgrade.
func TestProgramVanishesDuringAnUpgrade(t *testing.T) {
	g := newOpenGateway(t)
	g.addWorkers(t, g.polite())
	g.install(t)
	g.run(t)
	before := g.awaitWorker(t, "polite", ipc.WorkerRunning)
	g.between(t, "checked", "spoil", filepath.Join(g.programs, "supervisor"))
	if err := g.process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the program before goes on", func() bool { return strings.Count(g.errors.String(), "msg=ready") == 2 })
	g.install(t)
	if after := g.awaitWorker(t, "polite", ipc.WorkerRunning); after.PID != before.PID {
		t.Errorf("the worker's process %d has become %d", before.PID, after.PID)
	}
	g.mustRun(t, nil, "upgrade")
}
