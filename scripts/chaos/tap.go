package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// tap sees the traffic live, through one connection after the other, and keeps account of what it saw through each.
type tap struct {
	stateDir string

	mu     sync.Mutex // guards the rest
	sights map[string]*sight
}

// sight is what came on one subject, in turns: what came through one connection.
type sight struct {
	sessions []string // by number
	turns    [][]place
	repeats  int // messages that had come before in their turn
	recent   map[place]struct{}
	order    []place // of recent, oldest first
}

// place names a message: by the session and offset of a frame that was received, or with session -1 by the sequence in the
// queue of one that was sent.
type place struct {
	session int
	number  uint64
}

// remembered is how many messages of a turn are known again: a reader repeats those that were under way.
const remembered = 1 << 14

// Run looks until ctx ends.
func (t *tap) Run(ctx context.Context) error {
	t.sights = map[string]*sight{}
	for ctx.Err() == nil {
		t.look(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// look is one connection.
func (t *tap) look(ctx context.Context) {
	closed := make(chan struct{})
	nc, err := connect(t.stateDir, ipc.RoleTap, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		return
	}
	defer func() { nc.Close(); <-closed }()
	t.mu.Lock()
	for _, s := range t.sights {
		s.turns = append(s.turns, nil)
		s.recent, s.order = map[place]struct{}{}, nil
	}
	t.mu.Unlock()
	messages := make(chan *nats.Msg, 1<<18)
	subjects := ipc.Subjects{Root: ipc.DefaultRoot}
	for _, subject := range []string{subjects.Rx("*"), subjects.Sent("*")} {
		if _, err := nc.ChanSubscribe(subject, messages); err != nil {
			return
		}
	}
	for {
		select {
		case m := <-messages:
			t.see(m)
		case <-closed:
			for len(messages) > 0 {
				t.see(<-messages)
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

func (t *tap) see(m *nats.Msg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sights[m.Subject]
	if s == nil {
		s = &sight{turns: make([][]place, 1), recent: map[place]struct{}{}}
		t.sights[m.Subject] = s
	}
	p := s.placeOf(m.Header)
	if _, again := s.recent[p]; again {
		s.repeats++
		return
	}
	s.recent[p] = struct{}{}
	if s.order = append(s.order, p); len(s.order) > remembered {
		delete(s.recent, s.order[0])
		s.order = s.order[1:]
	}
	last := &s.turns[len(s.turns)-1]
	*last = append(*last, p)
}

// placeOf reads the name of a message, <port>.<session>.<offset> or <port>.sent.<stream>.<sequence>.
func (s *sight) placeOf(h nats.Header) place {
	id := h.Get(ipc.HeaderMsgID)
	at := strings.LastIndexByte(id, '.')
	number, _ := strconv.ParseUint(id[at+1:], 10, 64)
	if h.Get(ipc.HeaderQueueSeq) != "" {
		return place{-1, number}
	}
	session := id[strings.IndexByte(id, '.')+1 : max(at, 0)]
	for i := len(s.sessions) - 1; i >= 0; i-- {
		if s.sessions[i] == session {
			return place{i, number}
		}
	}
	s.sessions = append(s.sessions, session)
	return place{len(s.sessions) - 1, number}
}

// spectator is a tap of the command line, which is killed and stopped. It is started again when it ends.
type spectator struct {
	programs, stateDir string

	mu      sync.Mutex // guards process
	process *os.Process
}

// Run keeps one running until ctx ends.
func (s *spectator) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, filepath.Join(s.programs, "supervisor"), "tap", "--json", "--state-dir", s.stateDir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
		s.mu.Lock()
		s.process = cmd.Process
		s.mu.Unlock()
		_ = cmd.Wait() // it was killed, or found no supervisor
		s.mu.Lock()
		s.process = nil
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// pid is the process's, or 0.
func (s *spectator) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.Pid
}
