package supervisor

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// process is one run of a worker.
type process struct {
	*os.Process
	started time.Time
	ready   chan struct{} // closed when it has said READY=1
	exited  chan struct{} // closed when it is reaped; state is set then
	state   *os.ProcessState
	output  sync.WaitGroup
	pipes   []*os.File // our ends
}

// lent are the descriptors that a built-in worker works with, which stay the supervisor's.
type lent struct {
	device uintptr
	ring   uintptr
	pipe   serialio.Pipe
	bell   serialio.Bell
	broker []int // connections to it
}

// launch starts a built-in worker. Its output goes to log.
func launch(s *spawner, path string, env []string, l lent, log *slog.Logger) (*process, error) {
	p := &process{started: time.Now(), ready: make(chan struct{}), exited: make(chan struct{})}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	var theirs []int
	defer func() {
		for _, fd := range theirs {
			_ = unix.Close(fd)
		}
	}()
	for _, name := range []string{"stdout", "stderr", "ready"} {
		ours, fd, err := pipe(name)
		if err != nil {
			p.closePipes()
			return nil, err
		}
		p.pipes, theirs = append(p.pipes, ours), append(theirs, fd)
	}
	// In the order of ipc.FDDevice and its like.
	files := []uintptr{
		null.Fd(), uintptr(theirs[0]), uintptr(theirs[1]), l.device, l.ring, uintptr(theirs[2]), uintptr(l.pipe.R), uintptr(l.pipe.W),
		uintptr(l.bell),
	}
	for _, fd := range l.broker {
		files = append(files, uintptr(fd))
	}
	p.Process, err = s.start(path, nil, env, files...)
	if err != nil {
		p.closePipes()
		return nil, err
	}
	p.output.Go(func() { logLines(p.pipes[0], log) })
	p.output.Go(func() { logLines(p.pipes[1], log) })
	p.output.Go(p.awaitReady)
	go p.reap() // whoever launches waits for exited
	return p, nil
}

// pipe makes a pipe whose read end is the supervisor's and non-blocking, and whose write end is a worker's and blocking.
func pipe(name string) (ours *os.File, theirs int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, fmt.Errorf("pipe for %s: %w", name, err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, -1, fmt.Errorf("pipe for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), fds[1], nil
}

func (p *process) awaitReady() {
	said := make([]byte, len(ipc.Ready))
	if _, err := io.ReadFull(p.pipes[2], said); err == nil && string(said) == ipc.Ready {
		close(p.ready)
	}
}

// reap waits for the process alone: a grandchild that holds its output does not delay the news.
func (p *process) reap() {
	state, err := p.Wait()
	if err == nil {
		p.state = state
	}
	// What the family has left is killed with it; an empty group gives an error.
	_ = unix.Kill(-p.Pid, unix.SIGKILL)
	for _, f := range p.pipes {
		// What is in the pipe is still read; a holder of the other end is not waited for.
		_ = f.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	}
	close(p.exited)
	p.output.Wait()
	p.closePipes()
}

func (p *process) closePipes() {
	for _, f := range p.pipes {
		_ = f.Close()
	}
}

// killLimit is how long a process may take to end by SIGKILL: one that is in a system call which cannot be interrupted ends
// with the call, and is reaped then.
const killLimit = 500 * time.Millisecond

// stop asks the process to end and makes it, after patience. It returns false if even that has not helped yet.
func (p *process) stop(patience time.Duration) bool {
	_ = p.Signal(syscall.SIGTERM) // fails if it is gone already
	if p.endsWithin(patience) {
		return true
	}
	_ = unix.Kill(-p.Pid, unix.SIGKILL)
	return p.endsWithin(killLimit)
}

func (p *process) endsWithin(limit time.Duration) bool {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-p.exited:
		return true
	case <-timeout.C:
		return false
	}
}

func (p *process) wasReady() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// killed says whether the process ended by SIGKILL.
func (p *process) killed() bool {
	status, ok := p.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// result words how the process ended: "exit 1", "signal: killed".
func (p *process) result() string {
	if !p.hasExited() {
		return "stuck in the kernel"
	}
	if p.state == nil {
		return "unknown"
	}
	return strings.Replace(p.state.String(), "exit status", "exit", 1)
}
