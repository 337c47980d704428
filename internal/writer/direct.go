package writer

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/ring"
)

// Limits of what a sender waits for on a port without a queue. Together they are less than the 5 s after which clients give
// up: what they are told must come before.
const (
	directTurn  = 2 * time.Second // for the frame's turn
	directWrite = 2 * time.Second // and then for the device to take it
)

// Limits of the frames that wait for their turn on a port without a queue.
const (
	waitingDirect      = 1 << 16
	waitingDirectBytes = 64 << 20
)

// listen takes frames from senders over plain NATS. A sender with a reply subject learns in time what became of its frame:
// that it was written, in the form of a stream's PubAck, whose sequence is the one in Serial-Queue-Seq; that it is not and
// will not be written; or that the device does not take the whole of it, with the sequence that it will have.
func (w *writer) listen(background context.Context, helpers *errgroup.Group) error {
	w.direct = newLine(waitingDirect, waitingDirectBytes)
	if err := w.subscribe("frames", w.Subjects.Tx(w.Spec.Port), w.admitDirect); err != nil {
		return err
	}
	helpers.Go(func() error { return w.direct.serve(background, w.serveDirect) })
	return nil
}

// admitDirect has a frame wait for its turn. One that nobody asks for may wait as long as it takes.
func (w *writer) admitDirect(m *nats.Msg) {
	r := &request{m: m}
	if ipc.IsInbox(m.Reply) {
		r.timer = time.AfterFunc(directTurn, func() { w.directLate(r) })
	}
	if refusal := w.direct.add(r); refusal != "" {
		w.refuseDirect(r, ipc.CodeBusy, "the frame was not sent: %s", refusal)
	}
}

// directLate tells a sender that has waited for long enough. What it is told must stay true: a frame that waits for its turn
// is given up for good, and one that is in hand cannot be, as part of it may be on the line.
func (w *writer) directLate(r *request) {
	switch {
	case r.enter(inLine, over):
		w.direct.leave(r)
		w.refuse(r.m, ipc.CodeBusy, fmt.Sprintf("port %s is busy: it was not this frame's turn within %s; nothing of it was written", w.Spec.Port, directTurn), 0)
	case r.enter(writing, over):
		w.refuse(r.m, ipc.CodeTimeout, fmt.Sprintf(
			"port %s: the device has not taken the whole frame within %s, as flow control may hold it up; it gets the rest as soon as it takes it", w.Spec.Port, directWrite), r.seq)
	}
}

// serveDirect writes a frame whose turn it is.
func (w *writer) serveDirect(r *request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.mayBegin() {
		w.refuseDirect(r, ipc.CodeBusy, "the frame was not sent: the port is closing")
		return
	}
	f, refusal := w.frameOf(ring.Direct, w.tx.Frames()+1, r.m.Header, r.m.Data)
	if refusal != "" {
		w.refuseDirect(r, ipc.CodeBadRequest, "the frame was not sent: %s", refusal)
		return
	}
	if lease, leased := w.leasedToOther(r.m.Header); leased {
		w.refuseDirect(r, ipc.CodeLeased, "the frame was not sent: %s", ipc.HeldBy(lease.Holder, lease.Left()))
		return
	}
	if w.staleToken(r.m.Header) {
		w.refuseDirect(r, ipc.CodeForbidden, "the frame was not sent: %s", staleReason)
		return
	}
	if !r.enter(inLine, begun) {
		return // its sender was told that it will not be written
	}
	if r.timer != nil {
		r.timer.Stop()
		r.seq = f.Seq
		r.stage.Store(writing)
		r.timer.Reset(directWrite)
	}
	if err := w.write(f); err != nil {
		// Not as busy, which says that it may be sent again: a successor may write the rest.
		w.refuseDirect(r, ipc.CodeFailed, "the port closed before the whole frame was written, and part of it may be on the line: %v", err)
		return
	}
	w.tellDirect(f)
	if r.end() {
		w.answer(r.m, nil, w.ackOf(f.Seq))
	}
}

// refuseDirect answers a sender that was not answered yet.
func (w *writer) refuseDirect(r *request, code int, format string, args ...any) {
	if r.end() {
		w.refuse(r.m, code, fmt.Sprintf("port %s: %s", w.Spec.Port, fmt.Sprintf(format, args...)), 0)
	}
}

// ackOf is the answer to a frame; with 0 to one that was not begun.
func (w *writer) ackOf(seq uint64) ipc.PubAck {
	a := ipc.PubAck{Sequence: seq}
	if seq > 0 {
		a.Stream, a.Session = ipc.NoQueue, w.Spec.Session
	}
	return a
}

// refuse answers with an error; seq is that of a frame which was begun all the same, or 0.
func (w *writer) refuse(m *nats.Msg, code int, reason string, seq uint64) {
	if !ipc.IsInbox(m.Reply) {
		w.Log.Warn("a frame was not sent", "bytes", len(m.Data), "reason", reason)
	}
	a := w.ackOf(seq)
	a.Error = &ipc.AckError{Code: code, Description: reason}
	w.answer(m, nats.Header{ipc.HeaderErrorCode: {strconv.Itoa(code)}, ipc.HeaderError: {oneLine(reason)}}, a)
}

// answer replies to a sender.
func (w *writer) answer(m *nats.Msg, header nats.Header, a ipc.PubAck) {
	body, err := json.Marshal(a)
	if err != nil {
		w.Log.Debug("a sender was not answered", "error", err)
		return
	}
	w.reply(&nats.Msg{Subject: m.Reply, Header: header, Data: body})
}
