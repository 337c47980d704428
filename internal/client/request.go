package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// RequestOptions say which answer to wait for. What is zero is left to the writer.
type RequestOptions struct {
	Timeout time.Duration // for the answer; and as long for its turn before
	Frames  int           // of the answer; negative: none is waited for
	Until   string        // a regular expression that the last frame matches
	Gap     time.Duration // silence that ends the answer
	Settle  time.Duration // before the frame is written, what comes for so long is no answer
	Lease   string        // the token of who alone may write
}

// DefaultTimeout is what the writer takes for a Timeout that is not set.
const DefaultTimeout = time.Second

func (o RequestOptions) header() nats.Header {
	h := nats.Header{}
	for name, d := range map[string]time.Duration{ipc.HeaderTimeout: o.Timeout, ipc.HeaderGap: o.Gap, ipc.HeaderSettle: o.Settle} {
		if d != 0 {
			h.Set(name, d.String())
		}
	}
	if o.Frames != 0 {
		h.Set(ipc.HeaderFrames, strconv.Itoa(max(o.Frames, 0)))
	}
	if o.Until != "" {
		h.Set(ipc.HeaderUntil, o.Until)
	}
	if o.Lease != "" {
		h.Set(ipc.HeaderLease, o.Lease)
	}
	return h
}

// limit is how long a reply may take: for the request's turn, the writing, and the answer.
func (o RequestOptions) limit() time.Duration {
	timeout := o.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return 3*timeout + o.Settle + answerLimit
}

// retryRequest is how often a port that is open and whose writer is being replaced is asked again.
const retryRequest = 20 * time.Millisecond

// Request writes a frame and returns the device's answer.
func (c *Client) Request(ctx context.Context, port string, frame []byte, o RequestOptions) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, o.limit())
	defer cancel()
	begun := time.Now()
	for {
		m, err := c.once(ctx, &nats.Msg{Subject: c.Subjects.Request(port), Header: o.header(), Data: frame})
		switch {
		case errors.Is(err, errUnsent) && ctx.Err() == nil:
			// Nothing was written.
			if err := c.awaitWriter(ctx, port, time.Since(begun)); err != nil {
				return nil, err
			}
			continue
		case errors.Is(err, errDenied):
			return nil, fmt.Errorf("%w; nothing was sent", c.deniedPort(ctx, "make requests of", port, ipc.RoleSend))
		case errors.Is(err, nats.ErrMaxPayload):
			return nil, fmt.Errorf("port %s: the frame has %d bytes, the broker takes at most %d", port, len(frame), c.nc.MaxPayload())
		case errors.Is(err, errBroken):
			return nil, fmt.Errorf("port %s: %w, and the frame may have been written or not", port, err)
		case errors.Is(err, context.DeadlineExceeded):
			return nil, fmt.Errorf("port %s: nobody has answered; the writer may have been replaced meanwhile, and the frame may have been written", port)
		case err != nil:
			return nil, fmt.Errorf("port %s: request: %w", port, err)
		}
		reason := m.Header.Get(ipc.HeaderError)
		if reason == "" {
			return m.Data, nil
		}
		if len(m.Data) > 0 {
			reason += ": " + capture.Escape(m.Data)
		}
		return nil, errors.New(reason) // it names the port
	}
}

// awaitWriter returns when it makes sense to ask again, or says why it does not.
func (c *Client) awaitWriter(ctx context.Context, port string, waited time.Duration) error {
	p, err := c.Port(ctx, port)
	switch {
	case err != nil:
		return err
	case p.State != ipc.Open:
		return fmt.Errorf("port %s is %s", port, stateOf(p))
	case waited > answerLimit:
		return fmt.Errorf("port %s: its writer does not run; see `supervisor status`", port)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retryRequest):
		return nil
	}
}
