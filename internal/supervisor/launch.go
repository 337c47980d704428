package supervisor

import (
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// lent are the descriptors that a built-in worker works with, which stay the supervisor's.
type lent struct {
	device uintptr
	ring   uintptr
	pipe   serialio.Pipe
	bell   serialio.Bell
	rx     serialio.Pipe // the reader's
	broker []int         // connections to it
}

// waiting is a worker that has nothing in hand and waits for what is to go on in its process.
type waiting struct {
	PID    int `json:"pid"`
	socket *os.File
}

// run is one run of a built-in worker.
type run struct {
	*process.Process
	ready  chan struct{} // closed when it has said READY=1
	socket *os.File      // the other end of its ipc.FDSuccessor
}

// launch starts a built-in worker, in the process of one that waits for it if before is not nil. Its output goes to the log.
func launch(s *process.Spawner, before *waiting, path string, env []string, l lent, output *printed) (*run, error) {
	said, theirs, err := process.Pipe("ready")
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(theirs) }()
	socket, successor, err := socketPair()
	if err != nil {
		_ = said.Close()
		return nil, err
	}
	defer func() { _ = unix.Close(successor) }()
	// In the order of ipc.FDDevice and its like.
	files := []uintptr{l.device, l.ring, uintptr(theirs), uintptr(l.pipe.R), uintptr(l.pipe.W), uintptr(l.bell), uintptr(l.rx.R), uintptr(successor)}
	for _, fd := range l.broker {
		files = append(files, uintptr(fd))
	}
	command := process.Command{Path: path, Env: env, Files: files, Stdout: output.stdout, Stderr: output.stderr}
	if before != nil {
		defer before.end(s)
		command.Into = func(files []uintptr) (int, error) { return before.become(ipc.Successor{Path: path, Env: env}, files) }
	}
	p, err := s.Start(command)
	if err != nil {
		_, _ = said.Close(), socket.Close()
		return nil, err
	}
	r := &run{p, make(chan struct{}), socket}
	go r.awaitReady(said) // ends with the process
	return r, nil
}

// socketPair makes two sockets that keep messages apart. Ours does not block, and is closed on exec.
func socketPair() (ours *os.File, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		return nil, -1, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "successor"), fds[1], nil
}

// leave has a worker finish what it has in hand and wait for a successor. If it does not within a time, or ends, it returns nil.
func (r *run) leave(patience time.Duration) *waiting {
	if !r.wasReady() || r.Signal(syscall.SIGUSR2) != nil {
		return nil
	}
	text := make([]byte, len(ipc.Waiting))
	_ = r.socket.SetReadDeadline(time.Now().Add(patience)) // Read has the error
	if _, err := io.ReadFull(r.socket, text); err != nil || string(text) != ipc.Waiting {
		return nil
	}
	return &waiting{r.Pid, r.socket}
}

// become names the successor to a worker that waits.
func (w *waiting) become(next ipc.Successor, files []uintptr) (pid int, err error) {
	raw, err := w.socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(fd uintptr) { err = next.Send(int(fd), files) }); cerr != nil {
		err = cerr
	}
	if err != nil {
		return 0, err
	}
	pid, w.PID = w.PID, 0
	return pid, nil
}

// end has a worker that has not become another end, and frees what belongs to it.
func (w *waiting) end(s *process.Spawner) {
	_ = w.socket.Close()
	if w.PID == 0 {
		return
	}
	if p, err := s.Adopt(process.Adopted{PID: w.PID, Started: time.Now()}); err == nil {
		p.Stop(0)
	}
}

func (r *run) awaitReady(said *os.File) {
	defer func() { _ = said.Close() }()
	text := make([]byte, len(ipc.Ready))
	if _, err := io.ReadFull(said, text); err == nil && string(text) == ipc.Ready {
		close(r.ready)
	}
}

func (r *run) wasReady() bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// result words how a process ended: "exit 1", "signal: killed".
func result(p *process.Process) string {
	switch {
	case !p.HasExited():
		return "stuck in the kernel"
	case p.State() == nil:
		return "unknown"
	case p.Starved():
		return "killed by the kernel: out of memory"
	}
	return strings.Replace(p.State().String(), "exit status", "exit", 1)
}

// builtinResult is result for a reader or writer, of which the exit code has a meaning.
func builtinResult(p *process.Process) string {
	if !p.HasExited() {
		return result(p)
	}
	switch p.ExitCode() {
	case ipc.ExitDeviceGone:
		return "the device hung up"
	case ipc.ExitAgain:
		return "began anew"
	case ipc.ExitOK:
		return "ended"
	}
	return result(p)
}
