package worker

import (
	"errors"
	"fmt"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// What can be told apart with errors.Is. The errors themselves say more, and name the port.
var (
	// ErrQueueFull: as many frames wait for the port as may, mostly because its device is away.
	ErrQueueFull = errors.New("the queue is full")
	// ErrUnknownPort: the gateway has no such port.
	ErrUnknownPort = errors.New("there is no such port")
	// ErrNotOpen: the port's device is away or cannot be used, and nothing keeps frames for it.
	ErrNotOpen = errors.New("the port is not open")
	// ErrNotAllowed: the worker's role or ports do not allow it, see the config.
	ErrNotAllowed = errors.New("this worker may not do that")
	// ErrLeased: somebody else has a lease on the port, or the lease that was used is over.
	ErrLeased = errors.New("the port is leased")
	// ErrTimeout: the device has not answered in time.
	ErrTimeout = errors.New("the device has not answered in time")
	// ErrUncertain: the frame may have been written, or queued, or not: the gateway's answer is missing.
	ErrUncertain = errors.New("it is not known what became of the frame")
	// ErrMissed: frames did not come to this worker, see Missed.
	ErrMissed = errors.New("frames were missed")
)

// Error is a refusal of the gateway's. It matches ErrLeased, ErrTimeout, ErrQueueFull and ErrNotOpen.
type Error struct {
	Port string
	// Code is as docs/requests.md lists them: 400 the frame or an option is not right, 423 leased to somebody else, 504 no answer
	// in time; for a queue that of JetStream's error, 10077 if it is full.
	Code int
	Text string // what is wrong, with the port's name
	// Answer is, of a request with code 504, what was received until then.
	Answer []byte
}

// Error implements error.
func (e *Error) Error() string {
	if len(e.Answer) > 0 {
		return fmt.Sprintf("%s: %q", e.Text, e.Answer)
	}
	return e.Text
}

// Is implements errors.Is.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrQueueFull:
		return e.Code == ipc.QueueFull
	case ErrLeased:
		return e.Code == ipc.CodeLeased || e.Code == ipc.CodeForbidden
	case ErrTimeout:
		return e.Code == ipc.CodeTimeout
	case ErrNotOpen:
		return e.Code == ipc.CodeNotOpen
	}
	return false
}

// Missed is the error that a loop over frames gets in place of those that did not come. It matches ErrMissed; the loop can go
// on.
type Missed struct {
	Frames int    // how many; 0: that is not known, and it may be none
	Reason string // why
}

// Error implements error.
func (m *Missed) Error() string {
	switch m.Frames {
	case 0:
		return "frames may have been missed: " + m.Reason
	case 1:
		return "1 frame was missed: " + m.Reason
	}
	return fmt.Sprintf("%d frames were missed: %s", m.Frames, m.Reason)
}

// Is implements errors.Is.
func (m *Missed) Is(target error) bool { return target == ErrMissed }
