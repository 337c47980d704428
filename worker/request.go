package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// RequestOption is an option of Request. There are Timeout, Frames, Until, Gap, Settle and LeaseToken.
type RequestOption interface{ requesting(h nats.Header) error }

// header is an option that is a header.
type header struct{ name, value string }

func (o header) requesting(h nats.Header) error {
	h.Set(o.name, o.value)
	return nil
}

// Timeout is how long the device has for its answer, 1s by default. The frame has as long for its turn and to be written.
func Timeout(d time.Duration) RequestOption { return header{ipc.HeaderTimeout, d.String()} }

// Frames is how many frames the answer has, 1 by default. With 0 none is waited for: Request returns when the frame was written.
func Frames(n int) RequestOption { return header{ipc.HeaderFrames, strconv.Itoa(n)} }

// Until ends the answer with the first frame that matches a regular expression, as of package regexp.
func Until(pattern string) RequestOption { return header{ipc.HeaderUntil, pattern} }

// Gap ends the answer when nothing has come for so long, after its first byte.
func Gap(d time.Duration) RequestOption { return header{ipc.HeaderGap, d.String()} }

// Settle waits for so long before the frame is written; what comes in that time is no answer. It is for the request after one that
// timed out.
func Settle(d time.Duration) RequestOption { return header{ipc.HeaderSettle, d.String()} }

// Option is for Send and Request alike.
type Option interface {
	SendOption
	RequestOption
}

type leaseToken string

// LeaseToken names the lease in which to write, one that another program has taken: `supervisor lease` has it in the environment
// variable SERIALVISOR_LEASE. Your own leases have methods Send and Request.
func LeaseToken(token string) Option { return leaseToken(token) }

func (t leaseToken) sending(h nats.Header) error { return t.requesting(h) }
func (t leaseToken) requesting(h nats.Header) error {
	return header{ipc.HeaderLease, string(t)}.requesting(h)
}

// Request writes a frame to a port's device and returns what it answers, with nothing else written in between: one frame, unless
// options say where the answer ends. Several frames are joined with the delimiter. See docs/requests.md.
//
// Errors that can be told apart: ErrTimeout, ErrLeased, ErrNotOpen, ErrUnknownPort, ErrNotAllowed, and ErrUncertain if the port's
// writer was replaced, or the connection broke, before the answer has come; then the frame may have been written. Request does not
// write it twice. Refusals are of type *Error; that of ErrTimeout has what was received until then.
func (w *Worker) Request(ctx context.Context, port string, data []byte, options ...RequestOption) ([]byte, error) {
	m := nats.NewMsg(w.subjects.Request(port))
	m.Data = data
	for _, option := range options {
		if err := option.requesting(m.Header); err != nil {
			return nil, fmt.Errorf("port %s: %w", port, err)
		}
	}
	limited, cancel := context.WithTimeout(ctx, requestLimit(m.Header))
	defer cancel()
	begun := time.Now()
	for {
		answer, err := w.ask(limited, m)
		switch {
		case err == nil && answer.Header.Get(ipc.HeaderError) == "":
			return answer.Data, nil
		case err == nil:
			return nil, refusal(port, answer)
		case errors.Is(err, errAway):
			err = w.connected(limited)
		case errors.Is(err, nats.ErrNoResponders):
			err = w.awaitWriter(limited, port, begun, false) // nothing was written
		case errors.Is(err, errCut), limited.Err() != nil:
			return nil, fmt.Errorf("port %s: %w: %w", port, ErrUncertain, err)
		default:
			return nil, fmt.Errorf("port %s: request: %w", port, err)
		}
		if err != nil {
			return nil, fmt.Errorf("port %s: nothing was written: %w", port, err)
		}
	}
}

// requestLimit is how long a reply may take: for the request's turn, the writing, and the answer. What cannot be read the writer
// refuses.
func requestLimit(h nats.Header) time.Duration {
	timeout, err := time.ParseDuration(h.Get(ipc.HeaderTimeout))
	if err != nil {
		timeout = time.Second
	}
	settle, _ := time.ParseDuration(h.Get(ipc.HeaderSettle))
	return 3*timeout + settle + answerLimit
}

// refusal is an answer that says no.
func refusal(port string, m *nats.Msg) *Error {
	code, _ := strconv.Atoi(m.Header.Get(ipc.HeaderErrorCode))
	e := &Error{Port: port, Code: code, Text: m.Header.Get(ipc.HeaderError)}
	if code == ipc.CodeTimeout {
		e.Answer = m.Data
	}
	return e
}
