package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// makeGroup makes a control group below the root of a hierarchy, and removes it with all that is in it.
func makeGroup(t *testing.T, root string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp(root, "serialvisor-test-")
	if err != nil {
		t.Skipf("NOT TESTED: no control group can be made: %v", err)
	}
	t.Cleanup(func() {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		waitUntil(t, "the control group is removed", func() bool {
			left, _ := filepath.Glob(dir + "/*/cgroup.procs")
			for _, group := range left {
				_ = os.Remove(filepath.Dir(group))
			}
			return os.Remove(dir) == nil
		})
	})
	return dir
}

// hierarchy is where one of control groups is mounted, of a kind with some option.
func hierarchy(t *testing.T, kind, option string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == kind && strings.Contains(","+f[3]+",", ","+option+",") {
			return f[1]
		}
	}
	return ""
}

// inGroup is a command that begins in a control group.
func inGroup(group string, cmd *exec.Cmd) *exec.Cmd {
	wrapped := exec.Command("sh", append([]string{"-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, group, cmd.Path}, cmd.Args[1:]...)...)
	wrapped.Env = cmd.Env
	return wrapped
}

// Where a control group is delegated nothing of a worker is left, even of what has left it in every way: when it is stopped, and
// when the supervisor is killed.
func TestWorkerTakesItsControlGroupAlong(t *testing.T) {
	root := hierarchy(t, "cgroup2", "rw")
	if root == "" {
		t.Skip("NOT TESTED: the unified hierarchy of control groups is not mounted, or read-only")
	}
	delegated := makeGroup(t, root)
	if err := unix.Setxattr(delegated, "trusted.delegate", []byte("1"), 0); err != nil {
		t.Skipf("NOT TESTED: a control group cannot be delegated: %v", err)
	}
	mark := fmt.Sprintf("78%d", os.Getpid())
	command := fmt.Sprintf("env -i setsid sh -c 'sleep %s & exec sleep %[1]s' & exec sleep %[1]s", mark)
	g := newOpenGateway(t)
	g.addWorkers(t, []string{"w", fmt.Sprintf("command: %q", command), "stop_timeout: 1s"})
	g.group = delegated
	g.run(t)
	groups := func() []string {
		list, _ := filepath.Glob(delegated + "/*/cgroup.procs")
		return list
	}
	running := func() bool { return len(processesWith(mark)) == 3 && len(groups()) == 1 }
	waitUntil(t, "its family is there", running)
	g.mustRun(t, nil, "stop", "w")
	if left := processesWith(mark); len(left) > 0 || len(groups()) > 0 {
		t.Errorf("processes %v and groups %q are left", left, groups())
	}
	g.mustRun(t, nil, "start", "w")
	waitUntil(t, "its family is there again", running)
	if err := syscall.Kill(g.worker(t, "w").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "another family is there", func() bool { return g.worker(t, "w").Restarts > 0 && running() })
	if err := g.process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	waitUntil(t, "all are dead", func() bool { return len(processesWith(mark)) == 0 && len(groups()) == 0 })
	g.run(t)
	waitUntil(t, "one family is there", running)
}

// A worker that takes more memory than there is is told apart from one that somebody has killed, and is not started again at once.
func TestWorkerWithoutMemory(t *testing.T) {
	limit := "memory.limit_in_bytes"
	root := hierarchy(t, "cgroup", "memory")
	if root == "" {
		root, limit = hierarchy(t, "cgroup2", "rw"), "memory.max"
	}
	if root == "" {
		t.Skip("NOT TESTED: control groups are not mounted")
	}
	small := makeGroup(t, root)
	if err := os.WriteFile(filepath.Join(small, limit), []byte("20M"), 0); err != nil {
		t.Skipf("NOT TESTED: the memory of a control group cannot be limited: %v", err)
	}
	g := startWithWorkers(t,
		[]string{"greedy", fmt.Sprintf("command: %q", "echo $$ > "+small+"/cgroup.procs && exec tail /dev/zero")},
		[]string{"modest", "command: sleep 1000"})
	waitUntil(t, "it has met its end", func() bool { return g.worker(t, "greedy").LastExit != "" })
	if w := g.worker(t, "greedy"); w.LastExit != "killed by the kernel: out of memory" {
		t.Errorf("status %+v", w)
	}
	g.mustRun(t, nil, "stop", "greedy")
	before := g.awaitWorker(t, "modest", ipc.WorkerRunning)
	// Of what happened a while ago nothing is held against one that is killed now.
	waitUntil(t, "it is told apart", func() bool {
		pid := g.awaitWorker(t, "modest", ipc.WorkerRunning).PID
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "another is at work", func() bool { w := g.worker(t, "modest"); return w.State == ipc.WorkerRunning && w.PID != pid })
		return g.worker(t, "modest").LastExit == "signal: killed"
	})
	if before.Restarts != 0 {
		t.Errorf("before there was %+v", before)
	}
}
