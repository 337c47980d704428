package main

import (
	"syscall"
	"testing"

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
