package writer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Limits of what waits for its turn on one port. One request always may, however long.
const (
	waitingRequests = 1024
	waitingBytes    = 16 << 20
)

// request is one that a client has made, or without terms a frame on tx.
type request struct {
	terms
	m     *nats.Msg
	stage atomic.Int32
	timer *time.Timer // ends the stages in which it waits for others; nil: nothing does
	seq   uint64      // of a frame on tx, from writing on
}

// Stages of a request.
const (
	inLine  = iota // waits for its turn; its time is limited
	writing        // its frame is with the device's driver; its time is limited
	begun          // it is being served by who has it, who minds the time
	over           // it was answered
)

// enter moves a request from one stage to another, unless its time is over.
func (r *request) enter(from, to int32) bool { return r.stage.CompareAndSwap(from, to) }

// end says whether a request is still to be answered, which is to be done then.
func (r *request) end() bool {
	if r.timer != nil {
		r.timer.Stop()
	}
	return r.stage.Swap(over) != over
}

// line is where requests wait for their turn, in order of arrival.
type line struct {
	most, mostBytes int
	arrived         chan struct{} // holds a token after one has come

	mu      sync.Mutex // guards all below
	waiting []*request
	bytes   int
	closed  bool // nobody may wait any more
}

func newLine(most, mostBytes int) *line {
	return &line{most: most, mostBytes: mostBytes, arrived: make(chan struct{}, 1)}
}

// add has a request wait, or says why it cannot.
func (l *line) add(r *request) (refusal string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch n := len(l.waiting); {
	case l.closed:
		return "the port is closing"
	case n == l.most, n > 0 && l.bytes+len(r.m.Data) > l.mostBytes:
		return fmt.Sprintf("%d others wait already", n)
	}
	l.waiting = append(l.waiting, r)
	l.bytes += len(r.m.Data)
	select {
	case l.arrived <- struct{}{}:
	default:
	}
	return ""
}

// close has nobody wait any more, and returns those who did.
func (l *line) close() []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	left := l.waiting
	l.waiting = nil
	return left
}

// next takes the first that waits; nil: none does.
func (l *line) next() *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil
	}
	r := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	l.bytes -= len(r.m.Data)
	return r
}

// leave takes one out that waits no longer.
func (l *line) leave(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, r); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.bytes -= len(r.m.Data)
	}
}

// listenForRequests takes requests from now on.
func (w *writer) listenForRequests() error {
	var parser termsParser
	return w.subscribe("requests", w.Subjects.Request(w.Spec.Port), func(m *nats.Msg) { w.admit(&parser, m) })
}

// subscribe takes what comes on a subject, until refuseRequests.
func (w *writer) subscribe(what, subject string, take nats.MsgHandler) error {
	sub, err := w.control.Subscribe(subject, take)
	if err == nil {
		err = w.control.Flush()
	}
	if err != nil {
		return fmt.Errorf("listen for %s: %w", what, err)
	}
	w.subs = append(w.subs, sub)
	return nil
}

// refuseRequests takes no requests and no frames from senders any more, and refuses those that wait and those that are on
// their way.
func (w *writer) refuseRequests(ctx context.Context) error {
	for _, r := range w.line.close() {
		w.give(r, ipc.CodeBusy, nil, "nothing was written: the port is closing")
	}
	if w.direct != nil {
		for _, r := range w.direct.close() {
			w.refuseDirect(r, ipc.CodeBusy, "the frame was not sent: the port is closing")
		}
	}
	// What the broker has sent before it knows is here with its answer to the flush.
	for _, sub := range w.subs {
		_ = sub.Drain() // fails without a connection, and then nobody is answered
	}
	return w.control.FlushWithContext(ctx)
}

// admit puts a request into the line.
func (w *writer) admit(parser *termsParser, m *nats.Msg) {
	t, err := parser.parse(m.Header)
	if err == nil && len(m.Data) > w.maxBytes {
		err = fmt.Errorf("it has %d bytes, more than max_bytes: %d", len(m.Data), w.maxBytes)
	}
	if err != nil {
		w.refuseRequest(m, ipc.CodeBadRequest, nil, "nothing was written: %v", err)
		return
	}
	r := &request{terms: t, m: m}
	r.timer = time.AfterFunc(t.timeout, func() { w.late(r) })
	if refusal := w.line.add(r); refusal != "" {
		w.give(r, ipc.CodeBusy, nil, "nothing was written: %s", refusal)
	}
}

// late answers a request whose time is over before the device had its frame.
func (w *writer) late(r *request) {
	switch {
	case r.enter(inLine, over):
		w.line.leave(r)
		w.refuseRequest(r.m, ipc.CodeTimeout, nil, "nothing was written: it was not its turn within %s", r.timeout)
	case r.enter(writing, over):
		w.refuseRequest(r.m, ipc.CodeTimeout, nil,
			"the device has not taken the whole frame within %s, as flow control may hold it up; it gets the rest as soon as it takes it, and what it answers goes to rx alone", r.timeout)
	}
}

// serve serves one after the other until ctx ends.
func (l *line) serve(ctx context.Context, one func(*request)) error {
	for {
		for r := l.next(); r != nil; r = l.next() {
			one(r)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.arrived:
		}
	}
}
