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
	"strings"
	"sync"
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
	// ID begins the message ids of what is queued, and is of this run of the process alone.
	ID string
}

// Limits of what waits for a process that does not read. What is beyond is dropped and counted: a port waits for nobody.
const (
	waitMost      = 4096 // frames
	waitMostBytes = 4 << 20
)

// Feed passes frames on to in, from now on, until end. It does not wait for in: a process that does not read misses frames.
func (b *Bridge) Feed(in io.Writer) (end func(), err error) {
	out := bufio.NewWriter(in)
	var mu sync.Mutex // held while a frame is written
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
			mu.Lock()
			defer mu.Unlock()
			b.line(out, p, m.Data)
			if more, _, err := m.Sub.Pending(); err != nil || more <= 1 { // this one counts still
				_ = out.Flush() // an error means that nobody reads any more
			}
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

// line writes a frame. An error comes up when it is flushed.
func (b *Bridge) line(out *bufio.Writer, p Port, frame []byte) {
	if len(b.Ports) > 1 {
		_, _ = out.WriteString(p.Name + "\t")
	}
	if p.Text {
		_, _ = out.Write(frame)
	} else {
		_, _ = hex.NewEncoder(out).Write(frame)
	}
	_ = out.WriteByte('\n')
}

// Take queues the lines that are read from out, until it ends. A line that cannot be queued is logged; while a queue is full
// the process waits.
func (b *Bridge) Take(ctx context.Context, out io.Reader) {
	most := 0
	for _, p := range b.Ports {
		most = max(most, 2*p.Most+len(p.Name)+2)
	}
	lines := bufio.NewReaderSize(out, most)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			b.Log.Warn("a line was not queued", "line", n, "reason", fmt.Sprintf("it has more than %d bytes", most))
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			line = nil
		}
		if line = bytes.TrimSuffix(line, []byte("\n")); len(line) > 0 {
			if qerr := b.queue(ctx, line, fmt.Sprintf("%s.%d", b.ID, n)); qerr != nil && ctx.Err() == nil {
				b.Log.Warn("a line was not queued", "line", n, "reason", qerr)
			}
		}
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
