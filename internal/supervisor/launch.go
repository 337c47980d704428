package supervisor

import (
	"io"
	"os"
	"strings"

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

// run is one run of a built-in worker.
type run struct {
	*process.Process
	ready chan struct{} // closed when it has said READY=1
}

// launch starts a built-in worker. Its output goes to the log.
func launch(s *process.Spawner, path string, env []string, l lent, output *printed) (*run, error) {
	said, theirs, err := process.Pipe("ready")
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(theirs) }()
	// In the order of ipc.FDDevice and its like.
	files := []uintptr{l.device, l.ring, uintptr(theirs), uintptr(l.pipe.R), uintptr(l.pipe.W), uintptr(l.bell), uintptr(l.rx.R)}
	for _, fd := range l.broker {
		files = append(files, uintptr(fd))
	}
	p, err := s.Start(process.Command{Path: path, Env: env, Files: files, Stdout: output.stdout, Stderr: output.stderr})
	if err != nil {
		_ = said.Close()
		return nil, err
	}
	r := &run{p, make(chan struct{})}
	go r.awaitReady(said) // ends with the process
	return r, nil
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
