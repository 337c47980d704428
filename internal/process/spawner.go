// Package process starts processes and sees to their end, with all that descends from them.
package process

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spawner starts processes, all from one thread. A worker must not outlive the supervisor, for which the kernel sends it
// SIGKILL when its parent dies; but to the kernel the parent is the thread that made it, and threads of the Go runtime
// end when it likes, taking workers along. The main thread lasts as long as the process.
type Spawner struct {
	requests  chan spawnRequest
	done      chan struct{}
	delegated string // folder of the control group in which families have theirs; empty: they have none

	mu    sync.Mutex   // held while a process is started; guards all below
	known map[int]bool // children that were not reaped
	kills kills
}

type spawnRequest struct {
	command Command
	files   []uintptr // the child's descriptors from 0 on
	reply   chan spawnReply
}

type spawnReply struct {
	process *os.Process
	err     error
}

// NewSpawner makes one that starts nothing before Run is called.
func NewSpawner() *Spawner {
	return &Spawner{
		requests: make(chan spawnRequest), done: make(chan struct{}), delegated: delegated(), known: map[int]bool{}, kills: newKills(),
	}
}

// HasGroups says whether families have control groups of their own.
func (s *Spawner) HasGroups() bool { return s.delegated != "" }

// Run starts what is asked for until ctx ends. The calling goroutine must be locked to the main thread.
func (s *Spawner) Run(ctx context.Context) error {
	defer close(s.done)
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-s.requests:
			process, err := s.fork(r)
			r.reply <- spawnReply{process, err}
		}
	}
}

// Expect notes that a process is a child which somebody will wait for.
func (s *Spawner) Expect(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[pid] = true
}

// adopt is the handle of a child that this program has not started.
func (s *Spawner) adopt(pid int) (*os.Process, error) {
	s.Expect(pid)
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("go on with process %d: %w", pid, err)
	}
	return p, nil
}

// start has a process started, with descriptors from 0 on that stay the caller's.
func (s *Spawner) start(c Command, files []uintptr) (*os.Process, error) {
	if c.Into != nil {
		if pid, err := c.Into(files); err == nil {
			return s.adopt(pid)
		}
	}
	r := spawnRequest{c, files, make(chan spawnReply, 1)}
	select {
	case s.requests <- r:
		reply := <-r.reply
		return reply.process, reply.err
	case <-s.done:
		return nil, fmt.Errorf("start %s: the supervisor is ending", c.Path)
	}
}

// reaped notes that a process is no child any more.
func (s *Spawner) reaped(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, pid)
}

// fork uses system calls and not package exec, which would put descriptors into the runtime's poller.
func (s *Spawner) fork(r spawnRequest) (*os.Process, error) {
	c := r.command
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if c.Outlives {
		attributes = &syscall.SysProcAttr{Setsid: true}
	}
	var group string
	if c.Mark != "" && s.delegated != "" {
		dir, fd, err := makeGroup(s.delegated, c.Mark)
		if err != nil {
			return nil, err
		}
		defer func() { _ = unix.Close(fd) }()
		group, attributes.UseCgroupFD, attributes.CgroupFD = dir, true, fd
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, _, err := syscall.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: r.files,
		// A group of its own, so that Ctrl-C in a terminal reaches the supervisor alone and a worker's children can be
		// reached with it.
		Sys: attributes,
	})
	if err != nil {
		if group != "" {
			_ = os.Remove(group)
		}
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	s.known[pid] = true
	return os.FindProcess(pid) // takes a pidfd: the child is ours and not reaped, so the number is still its own
}
