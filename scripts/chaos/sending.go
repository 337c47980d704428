package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// sending is the process that queues frames for a port, which is this program itself, started with -send. On stdout it says,
// each on a line of its own:
//
//	begin 10 14     frames 10 to 14 are about to be sent
//	queued 10 5123  frame 10 was acknowledged and has that sequence in the queue
//	end             the last frame that was acknowledged is short, and no more follow; after SIGTERM
//
// Frames of which nothing more is said are in the queue once or not at all.
type sending struct {
	talk
	stateDir string
	next     int
	out      *bufio.Writer

	nc      *nats.Conn
	subject string
	replies string // prefix of the subjects of answers; the number follows
	answers chan *nats.Msg
}

// answerLimit is how long an acknowledgement may take: supervisors are stopped for seconds.
const answerLimit = 15 * time.Second

// Run sends bursts until ctx ends, and then frames until a short one was acknowledged last.
func (s *sending) Run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(s.seed, uint64(s.next)))
	defer func() { s.close() }()
	for last := false; !last; {
		frames, pause := burst(random)
		finishing := ctx.Err() != nil
		if finishing {
			frames, pause = 1, 10*time.Millisecond
		}
		if s.nc == nil && s.connect() != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		n := s.next
		acknowledged, err := s.burst(frames)
		if err != nil {
			return err
		}
		last = finishing && acknowledged && s.short(n)
		if !last {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
	return s.say("end\n")
}

func (s *sending) connect() error {
	nc, err := connect(s.stateDir, ipc.RoleSend)
	if err != nil {
		return err
	}
	s.nc, s.replies = nc, nc.NewRespInbox()
	s.answers = make(chan *nats.Msg, 64)
	if _, err = nc.ChanSubscribe(s.replies+".*", s.answers); err == nil {
		err = nc.FlushTimeout(2 * time.Second)
	}
	if err != nil {
		s.close()
	}
	return err
}

func (s *sending) close() {
	if s.nc != nil {
		s.nc.Close()
		s.nc = nil
	}
}

func (s *sending) say(format string, args ...any) error {
	_, _ = fmt.Fprintf(s.out, format, args...)
	return s.out.Flush()
}

// burst sends frames at once and waits for what the queue says of each. It returns whether all are queued. An error is one
// of saying so.
func (s *sending) burst(frames int) (acknowledged bool, err error) {
	if err := s.say("begin %d %d\n", s.next, s.next+frames-1); err != nil {
		return false, err
	}
	first := s.next
	s.next += frames
	for n := first; n < s.next; n++ {
		m := &nats.Msg{Subject: s.subject, Reply: fmt.Sprintf("%s.%d", s.replies, n), Data: s.payload(n)}
		if err := s.nc.PublishMsg(m); err != nil {
			s.close()
			return false, nil
		}
	}
	limit := time.NewTimer(answerLimit)
	defer limit.Stop()
	left := frames
	acknowledged = true
	for left > 0 {
		select {
		case m := <-s.answers:
			var n int
			_, err := fmt.Sscanf(strings.TrimPrefix(m.Subject, s.replies), ".%d", &n)
			if err != nil || n < first {
				continue
			}
			left--
			var ack struct {
				Sequence uint64          `json:"seq"`
				Error    json.RawMessage `json:"error"`
			}
			// No responders: the answer is empty.
			if json.Unmarshal(m.Data, &ack) != nil || ack.Error != nil {
				acknowledged = false
				continue
			}
			_, _ = fmt.Fprintf(s.out, "queued %d %d\n", n, ack.Sequence)
		case <-limit.C:
			s.close()
			return false, s.out.Flush()
		case <-time.After(20 * time.Millisecond):
			if s.nc.IsClosed() && len(s.answers) == 0 {
				s.close()
				return false, s.out.Flush()
			}
		}
	}
	return acknowledged, s.out.Flush()
}

// send is this program as a sending process.
func send(t talk, stateDir string, first int, out io.Writer) error {
	signal.Ignore(syscall.SIGINT)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s := &sending{talk: t, stateDir: stateDir, next: first, out: bufio.NewWriter(out), subject: ipc.Subjects{Root: ipc.DefaultRoot}.Tx(t.port)}
	return s.Run(ctx)
}

// sendingArguments start this program as the sending process of a port, and sendAs is what they lead to.
func sendingArguments(t talk, stateDir string, first int) ([]string, error) {
	text, err := json.Marshal(sendingSpec{t.port, t.place, t.binary, t.seed, stateDir, first})
	return []string{"-send", string(text)}, err
}

type sendingSpec struct {
	Port     string
	Place    int
	Binary   bool
	Seed     uint64
	StateDir string
	First    int
}

func sendAs(text string) error {
	var s sendingSpec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("-send: %w", err)
	}
	return send(talk{s.Port, s.Place, 't', s.Binary, s.Seed}, s.StateDir, s.First, os.Stdout)
}
