package process

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spawner starts processes from the main thread, which TestMain gives to it.
var spawner = NewSpawner()

func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	ctx, stop := context.WithCancel(context.Background())
	code := 1
	go func() { // ends Run
		defer stop()
		code = m.Run()
	}()
	if err := spawner.Run(ctx); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// patience is how long is waited for what must happen.
const patience = 30 * time.Second

// sh runs a script, and waits until it says something.
func sh(t *testing.T, script string) *Process {
	t.Helper()
	said := make(chan error, 1)
	p, err := spawner.Start(Command{
		Path: "/bin/sh", Args: []string{"-c", script},
		Stdout: func(r io.Reader) {
			_, err := r.Read(make([]byte, 80))
			said <- err
			_, _ = io.Copy(io.Discard, r)
		},
		Stderr: func(r io.Reader) { _, _ = io.Copy(io.Discard, r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(0) })
	select {
	case err = <-said:
	case <-time.After(patience):
		err = errors.New("it says nothing")
	}
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return p
}

// The kernel kills a process when the thread ends that has made it, and the Go runtime ends threads to which a goroutine was locked.
func TestProcessesOutliveThreads(t *testing.T) {
	var all []*Process
	const threads = 200
	for n := range threads {
		if n%10 == 0 {
			all = append(all, sh(t, "echo ready; exec sleep 1000"))
		}
		var ended sync.WaitGroup
		var thread int
		ended.Go(func() {
			runtime.LockOSThread()
			thread = unix.Gettid()
			if n%10 == 5 {
				all = append(all, sh(t, "echo ready; exec sleep 1000"))
			}
		})
		ended.Wait()
		for end := time.Now().Add(patience); unix.Tgkill(os.Getpid(), thread, 0) == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("thread %d has not ended", thread)
			}
		}
	}
	for _, p := range all {
		if p.EndsWithin(10 * time.Millisecond) {
			t.Errorf("process %d has ended: %s", p.Pid, p.State())
		}
	}
}

// What a process has left behind, and holds its output, does not delay the news of its end.
func TestDeathIsSeenAtOnce(t *testing.T) {
	var took []time.Duration
	for range 20 {
		p := sh(t, "sleep 1000 & echo ready; exec sleep 1000")
		begun := time.Now()
		if err := unix.Kill(p.Pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if !p.EndsWithin(patience) {
			t.Fatal("its end is not seen")
		}
		took = append(took, time.Since(begun))
	}
	t.Logf("seen after %v", took)
}

// One that does not listen is killed when its time is over, with what it has started.
func TestStopKillsTheDeaf(t *testing.T) {
	p := sh(t, "trap '' TERM; echo ready; while :; do sleep 1000; done")
	const timeout = 200 * time.Millisecond
	begun := time.Now()
	if !p.Stop(timeout) {
		t.Fatal("it has not ended")
	}
	if took := time.Since(begun); took < timeout || !p.Killed() {
		t.Errorf("it ended after %s: %s", took, p.State())
	}
}
