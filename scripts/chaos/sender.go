package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// sender has frames queued for a port by a process, which is started again when it was killed, and keeps account of them.
type sender struct {
	talk
	stateDir string
	log      *os.File

	mu      sync.Mutex // guards all below
	asked   []asking   // by number
	process *os.Process
	done    bool // the process has ended as it should
}

// asking is a frame that a process has begun to send.
type asking struct {
	begun int64  // ns since 1970
	queue uint64 // its sequence in the queue, if it was acknowledged, else 0
}

// Run has processes send until one has ended as it should, see finish, or ctx ends, which is an error.
func (s *sender) Run(ctx context.Context) error {
	for {
		if err := s.live(ctx); err != nil {
			return fmt.Errorf("the sender to port %s: %w", s.port, err)
		}
		s.mu.Lock()
		done := s.done
		s.mu.Unlock()
		if done {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the sender to port %s does not finish: no frame is acknowledged", s.port)
		}
	}
}

// live is one life of the process.
func (s *sender) live(ctx context.Context) error {
	s.mu.Lock()
	next := len(s.asked)
	s.mu.Unlock()
	arguments, err := sendingArguments(s.talk, s.stateDir, next)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, arguments...)
	cmd.Stderr = s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.mu.Lock()
	s.process = cmd.Process
	s.mu.Unlock()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		s.note(lines.Text())
	}
	s.mu.Lock()
	s.process = nil
	s.mu.Unlock()
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) && !exit.Sys().(syscall.WaitStatus).Signaled() {
		return err
	}
	return nil
}

// note takes down what a process says. What it was killed in the middle of is not to be had.
func (s *sender) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n, m int
	var sequence uint64
	if _, err := fmt.Sscanf(line, "begin %d %d", &n, &m); err == nil {
		for range m + 1 - len(s.asked) {
			s.asked = append(s.asked, asking{begun: time.Now().UnixNano()})
		}
	} else if _, err := fmt.Sscanf(line, "queued %d %d", &n, &sequence); err == nil && n < len(s.asked) {
		s.asked[n].queue = sequence
	} else if line == "end" {
		s.done = true
	}
}

// finish asks for a last frame.
func (s *sender) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = s.process.Signal(syscall.SIGTERM)
	}
}

// pid is the process's, or 0.
func (s *sender) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.Pid
}

// count is how many frames were acknowledged.
func (s *sender) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		if a.queue > 0 {
			n++
		}
	}
	return n
}

// last is the number of the last frame, once the process has ended as it should.
func (s *sender) last() (n int, finished bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked) - 1, s.done
}
