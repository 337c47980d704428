package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// stopTimeout is how long a built-in worker may take to end after SIGTERM. It is a little more than the worker allows
// itself, and leaves the supervisor time to close the broker within 5 s.
const stopTimeout = 3500 * time.Millisecond

// goneTimeout is the same when the device is gone: it may come back at any moment, and the port with it.
const goneTimeout = 500 * time.Millisecond

// builtin is a reader or writer: it is started, and when it dies started again, until its port is no longer open.
type builtin struct {
	name    string
	board   *board
	log     *slog.Logger
	turns   turns
	backoff backoff
	// launch starts the process, with new credentials and where its predecessor stood.
	launch func(ctx context.Context) (*run, error)
	// revoke ends the validity of a process's credentials, when it is dead or there is no more patience with it.
	revoke func(dead bool)
	// gone is called when the worker says that the device hung up.
	gone func()
	// ready is called when it is ready for the first time.
	ready func()
	// renew holds a value when the process is to end and another to be started. Nil: never.
	renew <-chan struct{}
	// hurry says that the device is gone, and that there is no patience with who does not notice. What it holds is in the
	// port's memory.
	hurry atomic.Bool
	// pass takes a process over that is to go on with another supervisor, when passing is set. Nil: there is none.
	pass    func(*waiting)
	passing atomic.Bool
}

// Run keeps the worker alive until ctx ends, and returns when its process has.
func (b *builtin) Run(ctx context.Context) error {
	defer b.board.worker(b.name, func(s *ipc.WorkerStatus) { s.State, s.PID = ipc.WorkerStopped, 0 })
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			b.board.worker(b.name, func(s *ipc.WorkerStatus) { s.Restarts++ })
		}
		wait, again := b.live(ctx)
		if !again {
			return nil
		}
		if wait > 0 {
			b.board.worker(b.name, func(s *ipc.WorkerStatus) { s.State, s.PID = ipc.WorkerBackoff, 0 })
			select {
			case <-ctx.Done():
			case <-b.renew:
			case <-time.After(wait):
			}
		}
	}
	return nil
}

// turns are a worker's to start in. So many as there are start at a time: hundreds of them at once would have the broker answer
// none in time.
type turns chan struct{}

// turnLimit is how long a worker has its turn at the most.
const turnLimit = readyLimit

func newTurns() turns { return make(turns, 4*runtime.NumCPU()) }

// take waits for a turn, which lasts until over is called; that may be more than once. Without one, as ctx has ended, it returns
// nil.
func (t turns) take(ctx context.Context) (over func()) {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	end := sync.OnceFunc(func() { <-t })
	limit := time.AfterFunc(turnLimit, end)
	return func() {
		limit.Stop()
		end()
	}
}

// live is one life of the worker. It says how long to wait before the next, if there is one.
func (b *builtin) live(ctx context.Context) (wait time.Duration, again bool) {
	over := b.turns.take(ctx)
	if over == nil {
		return 0, false
	}
	defer over()
	p, err := b.launch(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return 0, false
		}
		if errors.Is(err, serialio.ErrHangup) {
			b.gone()
			return backoffFirst, true
		}
		err = withRemedy(err)
		b.log.Error("worker does not start", "worker", b.name, "error", err)
		b.board.worker(b.name, func(s *ipc.WorkerStatus) { s.LastExit = err.Error() })
		return max(b.backoff.next(0, false), backoffFirst), true
	}
	b.board.worker(b.name, func(s *ipc.WorkerStatus) {
		s.State, s.PID, s.Since = ipc.WorkerStarting, p.Pid, p.Started
	})
	ready := p.ready
	for {
		select {
		case <-ready:
			ready = nil
			over()
			b.board.worker(b.name, func(s *ipc.WorkerStatus) { s.State = ipc.WorkerRunning })
			b.ready()
		case <-ctx.Done():
			if !b.passOn(p) {
				b.end(p)
			}
			return 0, false
		case <-b.renew:
			b.end(p)
			return 0, true
		case <-p.Exited:
			b.note(p)
			lived := time.Since(p.Started)
			if p.ExitCode() == ipc.ExitDeviceGone {
				b.gone()
				return b.backoff.next(lived, false), true
			}
			if p.ExitCode() == ipc.ExitAgain {
				return 0, true
			}
			wait := b.backoff.next(lived, p.wasReady() && p.Killed())
			if ctx.Err() == nil {
				b.log.Warn("worker died, starting it again", "worker", b.name, "pid", p.Pid, "exit", builtinResult(p.Process), "in", wait.Round(time.Millisecond))
			}
			return wait, true
		}
	}
}

// passOn leaves a process to the next supervisor, if that is to have it.
func (b *builtin) passOn(p *run) bool {
	if !b.passing.Load() {
		return false
	}
	left := p.leave(stopTimeout)
	if left == nil {
		b.hurry.Store(true) // it has had its time
		return false
	}
	b.revoke(true) // it has closed its connections
	b.pass(left)
	return true
}

// end has a process end.
func (b *builtin) end(p *run) {
	b.board.worker(b.name, func(s *ipc.WorkerStatus) { s.State = ipc.WorkerStopping })
	patience := stopTimeout
	if b.hurry.Load() {
		patience = goneTimeout
	}
	if !p.Stop(patience) {
		b.log.Error("worker does not end, the device's driver holds it", "worker", b.name, "pid", p.Pid)
	}
	b.note(p)
}

// note keeps how a process ended, which its credentials do not survive.
func (b *builtin) note(p *run) {
	_ = p.socket.Close()
	b.revoke(p.HasExited())
	b.board.worker(b.name, func(s *ipc.WorkerStatus) { s.LastExit, s.Since = builtinResult(p.Process), time.Now() })
}
