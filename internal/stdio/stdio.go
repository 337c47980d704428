// Package stdio is between a process that knows nothing but its standard streams and the bus: frames come in as lines, and
// lines that it prints are queued as frames.
package stdio

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Port is one that a process has to do with.
type Port struct {
	Name string
	// Text says that its frames are lines of text. Those of others stand in hexadecimal, as they may hold anything.
	Text bool
	Most int // bytes of a frame that can be sent
	// Stored says that there is a queue which knows a frame by its id, so that it can be sent again when no answer came.
	Stored bool
}

// Bridge connects a process with the bus. With several ports each line begins with the port's name and a tab.
type Bridge struct {
	Conn     *nats.Conn // with the rights of the process
	Subjects ipc.Subjects
	Ports    []Port
	Log      *slog.Logger
	Detached error // ends the output of a process that another bridge goes on with
	State

	feeder *feeder
}

// State is what is on its way between a process and the bus. When a bridge has ended another goes on with it, in another program.
type State struct {
	ID      string // begins the message ids of what is queued, and is of this run of the process alone
	Lines   int    // how many the process has printed that are done with
	Printed []byte // what it has printed since
	Skips   bool   // it is in the middle of a line that is too long
	Unread  []byte // what the process is to read and its pipe did not take
}

// Limits of what waits for a process that does not read. What is beyond is dropped and counted: a port waits for nobody.
const (
	waitMost      = 4096 // frames
	waitMostBytes = 4 << 20
)

// Feed passes frames on to in, from now on, until end. It does not wait for in: a process that does not read misses frames.
func (b *Bridge) Feed(in *os.File) (end func(), err error) {
	b.feeder = &feeder{in: in, unread: b.Unread}
	b.Conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		b.Log.Warn("frames are not passed to a worker, which does not read", "error", err)
	})
	var subs []*nats.Subscription
	end = func() {
		for i, sub := range subs {
			if n, err := sub.Dropped(); err == nil && n > 0 {
				b.Log.Warn("frames were not passed to a worker, which did not read", "port", b.Ports[i].Name, "frames", n)
			}
			_ = sub.Unsubscribe()
		}
	}
	for _, p := range b.Ports {
		sub, err := b.Conn.Subscribe(b.Subjects.Rx(p.Name), func(m *nats.Msg) {
			more, _, err := m.Sub.Pending()
			b.feeder.add(b.line(p, m.Data), err != nil || more <= 1) // this one counts still
		})
		if err == nil {
			subs = append(subs, sub)
			err = sub.SetPendingLimits(waitMost, waitMostBytes)
		}
		if err != nil {
			end()
			return nil, fmt.Errorf("subscribe to port %s: %w", p.Name, err)
		}
	}
	if err := b.Conn.Flush(); err != nil {
		end()
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return end, nil
}

// Resume writes what a bridge before has left unread, and returns when the process has read it.
func (b *Bridge) Resume() { b.feeder.add(nil, true) }

// line is what the process reads of a frame.
func (b *Bridge) line(p Port, frame []byte) (line []byte) {
	if len(b.Ports) > 1 {
		line = append(line, p.Name+"\t"...)
	}
	if p.Text {
		line = append(line, frame...)
	} else {
		line = hex.AppendEncode(line, frame)
	}
	return append(line, '\n')
}

// Hold has Feed keep what it would write, from now on, in Unread: all that was published before. It returns when that is there.
func (b *Bridge) Hold(ctx context.Context) error {
	b.feeder.hold()
	err := b.Conn.FlushWithContext(ctx)
	handled := make(chan struct{})
	if err == nil {
		err = b.Conn.Barrier(func() { close(handled) })
	}
	if err == nil {
		select {
		case <-handled:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	b.Unread = b.feeder.rest()
	return err
}

// Take queues the lines that are read from out, until it ends. A line that cannot be queued is logged; while a queue is full
// the process waits. If ctx ends, or out by Detached, the lines that were not queued are in Printed.
func (b *Bridge) Take(ctx context.Context, out io.Reader) {
	most := 0
	for _, p := range b.Ports {
		most = max(most, 2*p.Most+len(p.Name)+2)
	}
	lines := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(b.Printed), out), most)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) && !b.Skips {
			b.Log.Warn("a line was not queued", "line", b.Lines+1, "reason", fmt.Sprintf("it has more than %d bytes", most))
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			b.Skips = true
			line, err = lines.ReadSlice('\n')
		}
		if err != nil && errors.Is(err, b.Detached) {
			b.Printed = bytes.Clone(line)
			if b.Skips {
				b.Printed = nil
			}
			return
		}
		if text := bytes.TrimSuffix(line, []byte("\n")); len(text) > 0 && !b.Skips {
			if qerr := b.queue(ctx, text, fmt.Sprintf("%s.%d", b.ID, b.Lines+1)); qerr != nil {
				if ctx.Err() != nil {
					rest, _ := lines.Peek(lines.Buffered()) // it cannot fail
					b.Printed = slices.Concat(line, rest)
					return
				}
				b.Log.Warn("a line was not queued", "line", b.Lines+1, "reason", qerr)
			}
		}
		b.Lines++
		b.Skips = false
		if err != nil {
			return
		}
	}
}

// queue queues one line.
func (b *Bridge) queue(ctx context.Context, line []byte, id string) error {
	p := b.Ports[0]
	if len(b.Ports) > 1 {
		name, rest, tab := bytes.Cut(line, []byte("\t"))
		found := false
		for _, p = range b.Ports {
			if found = p.Name == string(name); found {
				break
			}
		}
		if !tab || !found {
			return fmt.Errorf("it does not begin with a port of this worker and a tab: %.40q", line)
		}
		line = rest
	}
	frame := line
	if !p.Text {
		frame = make([]byte, hex.DecodedLen(len(line)))
		if _, err := hex.Decode(frame, bytes.TrimSpace(line)); err != nil {
			return fmt.Errorf("port %s has binary frames, which stand in hexadecimal: %w", p.Name, err)
		}
	}
	m := &nats.Msg{Subject: b.Subjects.Tx(p.Name), Data: frame, Header: nats.Header{ipc.HeaderMsgID: {id}}}
	for {
		err := b.publish(ctx, m, p.Stored)
		if err == nil || !errors.Is(err, errLater) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryAfter):
		}
	}
}

const (
	retryAfter = 100 * time.Millisecond
	ackLimit   = 5 * time.Second
)

// errLater says that the same frame may be taken later.
var errLater = errors.New("not now")

// publish queues a frame and waits for the answer of the queue.
func (b *Bridge) publish(ctx context.Context, m *nats.Msg, stored bool) error {
	waiting, cancel := context.WithTimeout(ctx, ackLimit)
	defer cancel()
	reply, err := b.Conn.RequestMsgWithContext(waiting, m)
	switch {
	case errors.Is(err, nats.ErrNoResponders), stored && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer from the queue", errLater) // no writer or no store at the moment
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer in %s; it may be written or not", ackLimit)
	case err != nil:
		return err
	}
	var ack ipc.PubAck
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return fmt.Errorf("the answer of the queue: %w", err)
	}
	switch {
	case ack.Error == nil:
		return nil
	case ack.Error.Code == ipc.CodeBusy, ack.Error.Code == ipc.CodeLeased:
		return fmt.Errorf("%w: %s", errLater, strings.TrimSpace(ack.Error.Description))
	}
	return errors.New(ack.Error.Description)
}
