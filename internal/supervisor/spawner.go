package supervisor

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// spawner starts processes, all from one thread. A worker must not outlive the supervisor, for which the kernel sends it
// SIGKILL when its parent dies; but to the kernel the parent is the thread that made it, and threads of the Go runtime
// end when it likes, taking workers along. The main thread lasts as long as the process.
type spawner struct {
	requests chan spawnRequest
	done     chan struct{}
}

type spawnRequest struct {
	path  string
	args  []string
	env   []string
	files []uintptr // the child's descriptors from 0 on
	reply chan spawnReply
}

type spawnReply struct {
	process *os.Process
	err     error
}

func newSpawner() *spawner {
	return &spawner{requests: make(chan spawnRequest), done: make(chan struct{})}
}

// Run starts what is asked for until ctx ends. The calling goroutine must be locked to the main thread.
func (s *spawner) Run(ctx context.Context) error {
	defer close(s.done)
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-s.requests:
			process, err := fork(r)
			r.reply <- spawnReply{process, err}
		}
	}
}

// start has a process started. Its files stay the caller's.
func (s *spawner) start(path string, args, env []string, files ...uintptr) (*os.Process, error) {
	r := spawnRequest{path, append([]string{path}, args...), env, files, make(chan spawnReply, 1)}
	select {
	case s.requests <- r:
		reply := <-r.reply
		return reply.process, reply.err
	case <-s.done:
		return nil, fmt.Errorf("start %s: the supervisor is ending", path)
	}
}

// fork uses system calls and not package exec, which would put descriptors into the runtime's poller.
func fork(r spawnRequest) (*os.Process, error) {
	pid, _, err := syscall.StartProcess(r.path, r.args, &syscall.ProcAttr{
		Env: r.env, Files: r.files,
		// A group of its own, so that Ctrl-C in a terminal reaches the supervisor alone and a worker's children can be
		// reached with it.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", r.path, err)
	}
	return os.FindProcess(pid) // takes a pidfd: the child is ours and not reaped, so the number is still its own
}
