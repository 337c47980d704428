package process

import (
	"context"
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

	life   *os.File // its input: when nobody holds it any more the guard acts; nil: none yet
	theirs int
	guard  *Process // nil: none yet
}

// NewKeeper keeps guards that are run by a program which calls Guard with its arguments after the first, command.
func (s *Spawner) NewKeeper(path, command, mark string, log *slog.Logger) *Keeper {
	return &Keeper{spawner: s, path: path, command: command, mark: mark, log: log}
}

// AdoptKeeper is NewKeeper where a program before this one, in this process, has kept a guard. It owns the descriptors, which
// are those of Detach. A guard that has died meanwhile is replaced as any other.
func (s *Spawner) AdoptKeeper(path, command, mark string, pid int, fds [2]int, log *slog.Logger) *Keeper {
	k := s.NewKeeper(path, command, mark, log)
	k.life, k.theirs = os.NewFile(uintptr(fds[0]), "the guard"), fds[1]
	var err error
	if k.guard, err = s.Adopt(Adopted{PID: pid, Started: time.Now()}); err != nil {
		k.guard = nil
		log.Warn("the guard of the workers' families died, starting it again", "error", err)
	}
	return k
}

// guardAgain is how long is waited before a guard is started that cannot be, or dies at once.
const guardAgain = time.Second

// Run has a guard run until ctx ends, and another when it dies. While there can be none, for want of descriptors as a rule, it says
// so and tries again.
func (k *Keeper) Run(ctx context.Context) {
	said := false
	var died time.Time // the guard before
	for ctx.Err() == nil {
		if err := k.ensure(); err != nil {
			if !said {
				k.log.Error("the families of workers have no guard, and what they leave behind outlives a supervisor that is killed", "error", err, "again_in", guardAgain)
			}
			said = true
			pause(ctx, guardAgain)
			continue
		}
		said = false
		select {
		case <-ctx.Done():
		case <-k.guard.Exited:
			k.log.Warn("the guard of the workers' families died, starting it again", "pid", k.guard.Pid)
			k.guard = nil
			if time.Since(died) < guardAgain { // a program that does not run would die time and again
				pause(ctx, guardAgain)
			}
			died = time.Now()
		}
	}
}

// ensure has a guard run.
func (k *Keeper) ensure() (err error) {
	if k.life == nil {
		if k.life, k.theirs, err = PipeTo("the guard"); err != nil {
			k.life = nil
			return err
		}
	}
	if k.guard == nil {
		k.guard, err = k.spawner.Start(Command{
			Path: k.path, Args: []string{k.command, k.mark}, Stdin: uintptr(k.theirs), Outlives: true, Stdout: drop, Stderr: drop,
		})
	}
	return err
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// End has the guard act and end. Run must have returned.
func (k *Keeper) End() {
	if k.life == nil {
		return
	}
	_, _ = k.life.Close(), unix.Close(k.theirs)
	if k.guard != nil && !k.guard.EndsWithin(time.Second) {
		k.guard.Kill()
	}
}

// Detach leaves the guard to another program in this process; pid 0: there is none. Run must have returned.
func (k *Keeper) Detach() (pid int, fds [2]int, err error) {
	if k.guard == nil {
		return 0, fds, nil
	}
	life, err := Duplicate(k.life)
	if err != nil {
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
