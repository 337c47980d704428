package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/stdio"
)

// bequest is what a supervisor that is upgraded leaves of a worker of the user's own, whose process notices nothing.
type bequest struct {
	Spec     string          `json:"spec"`            // names what the process depends on
	Rests    ipc.WorkerState `json:"rests,omitempty"` // it is not to run, and is in this state
	LastExit string          `json:"last_exit,omitempty"`
	Runs     int             `json:"runs"`
	Restarts uint64          `json:"restarts"`

	PID         int           `json:"pid,omitempty"` // 0: there is no process, and nothing of what follows
	Started     time.Time     `json:"started,omitzero"`
	StopTimeout time.Duration `json:"stop_timeout,omitempty"`
	Mark        string        `json:"mark,omitempty"`
	Role        ipc.Role      `json:"role,omitempty"`
	Ports       []string      `json:"ports,omitempty"`
	Password    string        `json:"password,omitempty"`
	Ready       bool          `json:"ready,omitempty"`
	Alive       bool          `json:"alive,omitempty"`
	Message     string        `json:"message,omitempty"`
	Notices     string        `json:"notices,omitempty"` // address of its socket; empty: it has none
	Bridge      *stdio.State  `json:"bridge,omitempty"`
	Begun       [2][]byte     `json:"begun,omitzero"` // of lines that it prints, by stream

	output  []int
	notices int
	stdin   int
}

// errPassedOn ends what runs of a worker while its process goes on.
var errPassedOn = errors.New("another supervisor takes over")

// specOf names what a worker's process depends on.
func specOf(c *config.Config, w config.Worker, url string) (string, error) {
	text, err := json.Marshal([]any{workerSpec(c, w), c.SubjectRoot, url})
	return string(text), err
}

// passDetach is how long a line that a worker has printed may take to be queued before it is left to the next supervisor.
const passDetach = time.Second

// passOn lets go of the process for another supervisor. It returns false if the process is to end instead.
func (l *life) passOn() bool {
	b := &bequest{
		PID: l.process.Pid, Started: l.process.Started, StopTimeout: l.config.StopTimeout, Mark: l.mark, Role: l.config.Role, Ports: l.config.Ports,
		Password: l.grant.Password, Message: l.board.workerStatus(l.config.Name).Message, notices: -1, stdin: -1,
	}
	if l.ordered || l.reason != "" {
		return false
	}
	if err := l.detach(b); err != nil {
		l.log.Warn("worker is started anew", "worker", l.config.Name, "error", err)
		return false
	}
	l.left = b
	return true
}

// detach ends all that concerns the process here, and takes down what is to go on there.
func (l *life) detach(b *bequest) (err error) {
	if l.bridge != nil {
		ctx, cancel := context.WithTimeout(context.Background(), passDetach)
		defer cancel()
		if err := l.bridge.Hold(ctx); err != nil {
			return fmt.Errorf("frames for it: %w", err)
		}
		if b.stdin, err = process.Duplicate(l.stdin); err != nil {
			return err
		}
	}
	if l.socket != nil {
		if b.notices, err = l.socket.Detach(); err != nil {
			return err
		}
		b.Notices = l.socket.Address
		l.hearLast()
	}
	b.Ready, b.Alive = l.ready, l.alive
	if b.output, err = l.process.Detach(passDetach, l.hurry); err != nil {
		return err
	}
	b.Begun = l.output.begun
	if l.bridge != nil {
		b.Bridge = &l.bridge.State
	}
	if l.process.HasExited() {
		return errors.New("it has ended")
	}
	return nil
}

// hearLast takes in what the process has said and nobody has heard. Nothing more is received.
func (l *life) hearLast() {
	over := make(chan struct{})
	go func() { // ends with what receives
		_ = l.group.Wait()
		close(over)
	}()
	never := newAlarm(0)
	for {
		select {
		case n := <-l.notices:
			l.hear(n, never, never)
		case <-over:
			return
		}
	}
}

// bequeath is what is left of the worker, whose Run has returned.
func (c *custom) bequeath(conf *config.Config) (b *bequest, err error) {
	b = c.left
	if b == nil {
		b = &bequest{}
	}
	s := c.board.workerStatus(c.config.Name)
	b.Runs, b.Restarts, b.LastExit = c.runs, s.Restarts, s.LastExit
	if !c.wanted {
		b.Rests = c.rests
	}
	b.Spec, err = specOf(conf, c.config, c.broker.URL())
	return b, err
}

// adopt goes on with the process of the supervisor before. It must not fail while that lives: then it is ended.
func (c *custom) adopt(ctx context.Context, b *bequest) (_ *life, err error) {
	l := c.newLife(b.Password)
	l.ready, l.alive, l.mark, l.output.begun = b.Ready, b.Alive, b.Mark, b.Begun
	defer func() {
		if err != nil {
			l.free()
			b.end(c.spawner)
		}
	}()
	var state stdio.State
	if b.Bridge != nil {
		state = *b.Bridge
		if l.stdin, err = process.OurEnd(b.stdin, "stdin"); err != nil {
			return nil, err
		}
	}
	if b.Notices != "" {
		if l.socket, err = process.AdoptNotices(b.notices, b.Notices); err != nil {
			return nil, err
		}
	}
	running, err := l.connect(ctx, state)
	if err != nil {
		return nil, err
	}
	output := b.output
	b.output = nil // Adopt owns it
	l.process, err = c.spawner.Adopt(process.Adopted{
		PID: b.PID, Started: b.Started, Mark: b.Mark, Output: output, Stdout: l.stdout(running), Stderr: l.output.stderr,
	})
	if err != nil {
		return nil, err
	}
	l.listen(running)
	l.note(func(s *ipc.WorkerStatus) { s.Message = b.Message })
	return l, nil
}

// end has the process end that nobody wants any more, with its family. What it prints is not read by anybody, but taken: else it might
// wait for that.
func (b *bequest) end(s *process.Spawner) {
	if b.PID == 0 {
		return
	}
	output := b.output
	b.output = nil
	if p, err := s.Adopt(process.Adopted{PID: b.PID, Started: b.Started, Mark: b.Mark, Output: output, Stdout: drop, Stderr: drop}); err == nil {
		p.Stop(b.StopTimeout)
	}
}

func drop(r io.Reader) { _, _ = io.Copy(io.Discard, r) }
