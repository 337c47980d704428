package writer

import (
	"errors"
	"regexp"
	"time"

	"github.com/serialvisor/serialvisor/internal/ring"
)

// awaited is what the port's memory keeps of a request, for a successor to know whose answer comes.
func (t terms) awaited(from ring.Mark) ring.Awaited {
	a := ring.Awaited{Mark: from, Timeout: t.timeout, Gap: t.gap, Frames: t.frames}
	if t.until != nil {
		if a.Until = t.until.String(); a.Until == "" {
			a.Until = "(?:)" // matches as much, and is not empty
		}
	}
	return a
}

// termsOf is the way back.
func termsOf(a ring.Awaited) terms {
	t := terms{timeout: a.Timeout, gap: a.Gap, frames: a.Frames}
	if a.Until != "" {
		t.until, _ = regexp.Compile(a.Until) // without it, the answer ends with its time
	}
	return t
}

// resumeAnswer finds out when the answer comes that a predecessor has asked for. No frame may be in hand any more, and the
// last one must not be told yet.
func (w *writer) resumeAnswer() {
	if a, ok := w.tx.Awaited(); !ok || a.Deadline != 0 {
		return
	}
	if _, written := w.tx.Untold(); written {
		w.tx.AwaitFrom(ring.Now())
	} else {
		w.tx.AwaitNothing() // it was killed before it took the frame in hand
	}
}

// answerOver waits until the answer to a request that nobody waits for any more has come, or comes no more: it would be taken
// for that to the next one. It returns false if the worker is to stop before.
func (w *writer) answerOver() bool {
	owed, ok := w.tx.Awaited()
	if !ok {
		return true
	}
	if left := owed.Deadline - ring.Now(); left > 0 {
		deadline := time.Now().Add(left)
		l := w.Ring.Listen(owed.Mark)
		defer l.Close()
		a := w.newAnswer(int(w.control.MaxPayload()))
		a.passed = true
		err := w.hear(l, a, termsOf(owed), deadline)
		if err != nil && !errors.Is(err, errLate) && !w.sleepUntil(deadline) {
			return false
		}
	}
	w.tx.AwaitNothing()
	return true
}

// mayBegin waits until a frame may be begun. It returns false if the worker is to stop before.
func (w *writer) mayBegin() bool { return !w.stopped && w.answerOver() && w.quietOver() }
