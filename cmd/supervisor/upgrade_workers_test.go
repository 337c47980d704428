package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Workers of the user's own notice nothing of an upgrade, but those whose config has changed.
func TestUpgradeKeepsWorkers(t *testing.T) {
	g := newOpenGateway(t)
	family := fmt.Sprintf("98765.%d", os.Getpid()) // seconds
	g.addWorkers(t,
		[]string{"counter", `command: "n=0; while :; do printf number; sleep 0.01; echo \" $n\"; n=$((n+1)); done"`, "stdio: true", "ports: [gps]", "role: send"},
		player(t, "watched", "plain", "notify: true", "watchdog: 2s", "directory: "+g.dir),
		player(t, "asking", "asks", "directory: "+g.dir),
		player(t, "stopped", "plain", "directory: "+g.dir),
		player(t, "changed", "plain", "directory: "+g.dir, "stop_timeout: 1s"),
		[]string{"never", "command: exit 3", "restart: never"},
		[]string{"removed", `command: "sleep ` + family + ` & exec sleep ` + family + `"`},
	)
	g.install(t)
	g.run(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", g.errors)
		}
	})
	names := []string{"counter", "watched", "asking", "stopped", "changed", "removed"}
	for _, name := range names {
		g.awaitWorker(t, name, ipc.WorkerRunning)
	}
	g.awaitWorker(t, "never", ipc.WorkerFailed)
	g.mustRun(t, nil, "stop", "stopped")
	before := g.processes(t)
	heard := g.hearUntil(" 400\n")
	config, err := os.ReadFile(filepath.Join(g.dir, "c.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	next, removed, _ := strings.Cut(string(config), "  removed:")
	if n := len(processesWith(family)); n < 2 || removed == "" {
		t.Fatalf("%d processes of the worker that is to be removed", n)
	}
	for round := range upgrades {
		if round == 1 { // from here on
			g.write(t, strings.Replace(next, "stop_timeout: 1s", "stop_timeout: 1s\n    watchdog: 10s", 1))
		}
		g.mustRun(t, nil, "upgrade")
		g.await(t, "the port is open", func(p portNumbers) bool { return p.State == ipc.Open })
	}
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	after := g.processes(t)
	for _, name := range []string{"counter", "watched", "asking"} {
		w := g.worker(t, name)
		if before[name] != after[name] || w.State != ipc.WorkerRunning || w.Restarts != 0 {
			t.Errorf("worker %s: process %d has become %+v\n%s", name, before[name], w, g.errors)
		}
	}
	if w := g.worker(t, "watched"); w.Message != "at work as plain" {
		t.Errorf("worker watched: %+v", w)
	}
	if w := g.awaitWorker(t, "changed", ipc.WorkerRunning); w.PID == before["changed"] {
		t.Error("the worker with another config was not started anew")
	}
	if w := g.worker(t, "stopped"); w.State != ipc.WorkerStopped {
		t.Errorf("the worker that was stopped: %+v", w)
	}
	if w := g.worker(t, "never"); w.State != ipc.WorkerFailed || w.LastExit != "exit 3" {
		t.Errorf("the worker that failed: %+v", w)
	}
	if left := processesWith(family); len(left) > 0 || after["removed"] != 0 {
		t.Errorf("of the worker that was removed there is left %v", left)
	}
	var want strings.Builder
	for n := range 401 {
		fmt.Fprintf(&want, "number %d\n", n)
	}
	wantHeard(t, heard, want.String(), patience)
	waitUntil(t, "the worker with a connection of its own is back", func() bool {
		started, err := os.ReadFile(filepath.Join(g.dir, "asking.answer"))
		return err == nil && string(started) == s.Started.Format(time.RFC3339Nano)
	})
	// They are supervised as before.
	for _, name := range []string{"watched", "counter"} {
		if err := syscall.Kill(after[name], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, name+" is replaced", func() bool {
			w := g.worker(t, name)
			return w.State == ipc.WorkerRunning && w.PID != after[name] && w.Restarts == 1
		})
	}
	if err := syscall.Kill(after["asking"], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g.mustRun(t, nil, "restart", "asking")
	g.wantInTime(t)
}

// A worker that is killed while the supervisor is between its two programs is replaced, and harms nobody.
func TestWorkerIsKilledDuringAnUpgrade(t *testing.T) {
	g := newOpenGateway(t)
	g.addWorkers(t, player(t, "watched", "plain", "notify: true", "directory: "+g.dir), []string{"cat", "command: [cat]", "stdio: true", "ports: [gps]"})
	g.install(t)
	g.run(t)
	for round, name := range []string{"watched", "cat", "gps/reader", "gps/writer", "watched"} {
		waitUntil(t, "all workers run", func() bool { return g.allRun(t) })
		victim := g.worker(t, name).PID
		upgrade := g.background(t, "upgrade")
		waitUntil(t, "the first program has stopped", func() bool { return strings.Count(g.errors.String(), "msg=stopped") > round })
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if <-upgrade.ended; upgrade.err != nil {
			t.Fatalf("upgrade: %v: %s\n%s", upgrade.err, upgrade.errors, g.errors)
		}
		waitUntil(t, name+" is replaced", func() bool {
			w := g.worker(t, name)
			return w.State == ipc.WorkerRunning && w.PID != victim
		})
		if n := strings.Count(g.errors.String(), "msg=ready"); n != round+2 {
			t.Fatalf("%d programs have begun, want %d\n%s", n, round+2, g.errors)
		}
	}
}
