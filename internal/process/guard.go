package process

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel kills a supervisor's children with it, but not their children. A guard does: it is a process that waits for the
// supervisor's end, which it notices by the end of its input, and kills all that has inherited a mark.

// KeepGuard has a guard run until ctx ends, and another when it dies. path is a program that calls Guard with its arguments
// after the first, command.
func (s *Spawner) KeepGuard(ctx context.Context, path, command, mark string, log *slog.Logger) error {
	life, theirs, err := PipeTo("the guard")
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(theirs) }()
	defer func() { _ = life.Close() }()
	for {
		p, err := s.Start(Command{
			Path: path, Args: []string{command, mark}, Stdin: uintptr(theirs), Outlives: true,
			Stdout: drop, Stderr: drop,
		})
		if err != nil {
			return fmt.Errorf("guard: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = life.Close()
			if !p.EndsWithin(time.Second) {
				p.Kill()
			}
			return nil
		case <-p.Exited:
			log.Warn("the guard of the workers' families died, starting it again", "pid", p.Pid)
		}
	}
}

func drop(r io.Reader) { _, _ = io.Copy(io.Discard, r) }

// Guard waits for the end of the input and then kills what has the mark. A stop of the whole service does not concern it, as
// it ends with the supervisor.
func Guard(mark string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	_, _ = io.Copy(io.Discard, os.Stdin)
	KillMarked(mark)
}
