package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Nobody reads the log, or nobody can: the gateway works all the same, and ends when asked to.
func TestLogThatNobodyReads(t *testing.T) {
	for name, abandon := range map[string]func(r *os.File) error{
		"not read": func(*os.File) error { return nil },
		"closed":   (*os.File).Close,
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, os.DevNull)
			g.addWorkers(t, []string{"loud", "command: [yes, a flood of words that fills any pipe]"})
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			cmd := g.supervisor("run", "--config", filepath.Join(g.dir, "c.yaml"))
			cmd.Stderr = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			if err := abandon(r); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "the worker prints", func() bool {
				s, err := g.status()
				return err == nil && s.UptimeSeconds > 1 && s.Workers[len(s.Workers)-1].State == ipc.WorkerRunning
			})
			begun := time.Now()
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if took := time.Since(begun); err != nil || took > stopLimit {
					t.Errorf("it ended after %s with %v", took, err)
				}
			case <-time.After(patience):
				_ = cmd.Process.Kill()
				<-ended
				t.Error("it does not end")
			}
		})
	}
}
