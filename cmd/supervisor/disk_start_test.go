package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// TestStartOnAFullDisk starts where there is no room for one thing after another: it ends with one line that says what helps.
func TestStartOnAFullDisk(t *testing.T) {
	for _, leave := range []int{0, 4 << 10, 12 << 10} {
		t.Run(fmt.Sprintf("%d bytes free", leave), func(t *testing.T) {
			g := newPluggedGateway(t)
			dir := g.mount(t, "tmpfs", "tmpfs", "size=8m")
			fill(t, dir, leave)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			run := g.supervisor("run", "--config", filepath.Join(g.dir, "c.yaml"))
			run = exec.CommandContext(ctx, run.Path, run.Args[1:]...)
			out, err := run.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want exit code 1", err)
			}
			want := fmt.Sprintf("supervisor: the disk under %s is full: make room there, or choose another folder with --state-dir or state_dir", dir)
			if text := string(out); !strings.HasPrefix(text, want) || strings.Count(text, "\n") != 1 {
				t.Errorf("it said:\n%swant one line: %s", text, want)
			}
			if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
				t.Fatal(err)
			}
			g.run(t)
		})
	}
}

// TestStartWithLittleRoom starts where there is room for the beginning only: the gateway says so, and goes on when there is more.
func TestStartWithLittleRoom(t *testing.T) {
	g := newPluggedGateway(t)
	dir := g.mount(t, "tmpfs", "tmpfs", "size=8m")
	fill(t, dir, 48<<10)
	g.run(t)
	nc := g.connect(t, "tap")
	g.flood(t)
	g.storeState(t, nc, ipc.StoreFull)
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	g.storeState(t, nc, ipc.StoreOK)
	heard := g.hearUntil("frame\n")
	g.mustRun(t, nil, "send", "gps", "frame")
	wantHeard(t, heard, "frame\n", patience)
}
