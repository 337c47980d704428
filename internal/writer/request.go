package writer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/crash"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/ring"
)

// serve writes a request's frame and waits for the answer. Nothing else is written meanwhile.
func (w *writer) serve(r *request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.mayBegin() {
		w.give(r, ipc.CodeBusy, nil, "nothing was written: the port is closing")
		return
	}
	f, refusal := w.frameOf(ring.Requested, w.tx.Frames()+1, r.m.Header, r.m.Data)
	if refusal != "" {
		w.give(r, ipc.CodeBadRequest, nil, "nothing was written: %s", refusal)
		return
	}
	if lease, leased := w.leasedToOther(r.m.Header); leased {
		w.give(r, ipc.CodeLeased, nil, "nothing was written: %s", ipc.HeldBy(lease.Holder, lease.Left()))
		return
	}
	if w.staleToken(r.m.Header) {
		w.give(r, ipc.CodeForbidden, nil, "nothing was written: %s", staleReason)
		return
	}
	if !r.enter(inLine, begun) {
		return // its time was over
	}
	r.timer.Stop()
	if r.settle > 0 {
		w.quiet = time.Now().Add(r.settle)
		if !w.quietOver() {
			w.give(r, ipc.CodeBusy, nil, "nothing was written: the port is closing")
			return
		}
		if lease, leased := w.leasedToOther(r.m.Header); leased {
			w.give(r, ipc.CodeLeased, nil, "nothing was written: %s", ipc.HeldBy(lease.Holder, lease.Left()))
			return
		}
	}
	mark, err := w.Ring.Mark(w.Received.Waiting, w.Device.Unread)
	if err != nil {
		w.fail(err)
		w.give(r, ipc.CodeBusy, nil, "nothing was written: %v", err)
		return
	}
	if !r.none {
		w.tx.Await(r.awaited(mark))
		crash.Point("tx-awaited")
	}
	r.stage.Store(writing)
	r.timer.Reset(r.timeout)
	err = w.write(f)
	r.timer.Stop()
	inTime := r.enter(writing, begun)
	if err != nil {
		if inTime {
			w.give(r, ipc.CodeBusy, nil, "the port closed before the whole frame was written: %v", err)
		}
		return
	}
	written := time.Now()
	crash.Point("tx-requested")
	if !r.none {
		w.tx.AwaitFrom(ring.Now()) // before it is told, see resumeAnswer
	}
	w.tellDirect(f)
	switch {
	case !inTime: // who comes next has the answer pass
		return
	case r.none:
		w.give(r, 0, nil, "")
		return
	}
	listener := w.Ring.Listen(mark)
	defer listener.Close()
	a := w.newAnswer(int(w.control.MaxPayload()) - replyRoom)
	err = w.hear(listener, a, r.terms, written.Add(r.timeout))
	crash.Point("tx-heard")
	if err == nil || errors.Is(err, errLate) {
		w.tx.AwaitNothing()
	}
	answer := a.text
	switch {
	case err == nil:
		w.give(r, 0, answer, "")
	case errors.Is(err, errLate):
		w.give(r, ipc.CodeTimeout, answer, "the frame was written, and within %s the answer was not there, or not whole; %d bytes of it were received", r.timeout, len(answer))
	case errors.Is(err, errClosing):
		w.give(r, ipc.CodeBusy, answer, "the frame was written, and the port is closing before the answer was there")
	default:
		w.give(r, ipc.CodeFailed, nil, "the frame was written: %v", err)
	}
}

// give answers a request that is being served; code 0 says that all is well.
func (w *writer) give(r *request, code int, answer []byte, format string, args ...any) {
	if !r.end() {
		return
	}
	if code != 0 {
		w.refuseRequest(r.m, code, answer, format, args...)
		return
	}
	w.reply(&nats.Msg{Subject: r.m.Reply, Data: answer})
}

// refuseRequest answers with an error, and with what was received all the same.
func (w *writer) refuseRequest(m *nats.Msg, code int, received []byte, format string, args ...any) {
	reason := fmt.Sprintf("port %s: %s", w.Spec.Port, fmt.Sprintf(format, args...))
	w.reply(&nats.Msg{Subject: m.Reply, Data: received, Header: nats.Header{
		ipc.HeaderErrorCode: {strconv.Itoa(code)}, ipc.HeaderError: {oneLine(reason)},
	}})
}

// oneLine makes a text fit for a header.
func oneLine(s string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(s) }

// reply answers a sender, see ipc.IsInbox.
func (w *writer) reply(m *nats.Msg) {
	if !ipc.IsInbox(m.Subject) {
		return
	}
	if err := w.control.PublishMsg(m); err != nil {
		w.Log.Debug("a sender was not answered", "error", err)
	}
}
