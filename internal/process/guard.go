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

// Keeper keeps a guard.
type Keeper struct {
	spawner       *Spawner
	path, command string
	mark          string
	log           *slog.Logger

	life   *os.File // its input: when nobody holds it any more the guard acts
	theirs int
	guard  *Process // nil: none yet
}

// NewKeeper keeps guards that are run by a program which calls Guard with its arguments after the first, command.
func (s *Spawner) NewKeeper(path, command, mark string, log *slog.Logger) (*Keeper, error) {
	life, theirs, err := PipeTo("the guard")
	if err != nil {
		return nil, err
	}
	return &Keeper{spawner: s, path: path, command: command, mark: mark, log: log, life: life, theirs: theirs}, nil
}

// AdoptKeeper is NewKeeper where a program before this one, in this process, has kept a guard. It owns the descriptors, which
// are those of Detach.
func (s *Spawner) AdoptKeeper(path, command, mark string, pid int, fds [2]int, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{spawner: s, path: path, command: command, mark: mark, log: log, life: os.NewFile(uintptr(fds[0]), "the guard"), theirs: fds[1]}
	var err error
	k.guard, err = s.Adopt(Adopted{PID: pid, Started: time.Now()})
	return k, err
}

// Run has a guard run until ctx ends, and another when it dies.
func (k *Keeper) Run(ctx context.Context) (err error) {
	for {
		if k.guard == nil {
			k.guard, err = k.spawner.Start(Command{
				Path: k.path, Args: []string{k.command, k.mark}, Stdin: uintptr(k.theirs), Outlives: true, Stdout: drop, Stderr: drop,
			})
			if err != nil {
				return fmt.Errorf("guard: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.guard.Exited:
			k.log.Warn("the guard of the workers' families died, starting it again", "pid", k.guard.Pid)
			k.guard = nil
		}
	}
}

// End has the guard act and end. Run must have returned.
func (k *Keeper) End() {
	_, _ = k.life.Close(), unix.Close(k.theirs)
	if k.guard != nil && !k.guard.EndsWithin(time.Second) {
		k.guard.Kill()
	}
}

// Detach leaves the guard to another program in this process. Run must have returned.
func (k *Keeper) Detach() (pid int, fds [2]int, err error) {
	life, err := Duplicate(k.life)
	if err != nil || k.guard == nil {
		return 0, fds, err
	}
	return k.guard.Pid, [2]int{life, k.theirs}, nil
}

func drop(r io.Reader) { _, _ = io.Copy(io.Discard, r) }

// Guard waits for the end of the input and then kills what has the mark. A stop of the whole service does not concern it, as
// it ends with the supervisor.
func Guard(mark string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	_, _ = io.Copy(io.Discard, os.Stdin)
	KillMarked(mark)
}
