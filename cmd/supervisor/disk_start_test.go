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
)

// TestStartOnAFullDisk starts where there is no room for one thing after another: it ends with one line that says what helps.
func TestStartOnAFullDisk(t *testing.T) {
	for _, leave := range []int{0, 4 << 10, 12 << 10, 40 << 10} {
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
