package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// errorTooLong is JetStream's JSStreamMessageExceedsMaximumErr.
const errorTooLong = 10054

// SendOptions say how a frame is sent.
type SendOptions struct {
	Wait bool          // return when it was written to the device, for which it waits as long as the context lets it
	TTL  time.Duration // > 0: it is not sent when it has waited for so long; whole seconds

	Lease string // the token of who alone may write
}

// Send queues a frame for a port and returns when it is stored, or written.
func (c *Client) Send(ctx context.Context, port string, frame []byte, o SendOptions) error {
	if !o.Wait {
		_, err := c.queue(ctx, port, frame, o)
		return err
	}
	w, err := c.watchOutcome(ctx, port) // first, so that the news is not missed
	if err != nil {
		return err
	}
	defer w.stop()
	at, err := c.queue(ctx, port, frame, o)
	if err != nil || at.written {
		return err
	}
	w.sequence = at.sequence
	if at.session != "" {
		w.queueID, w.direct = at.session, true
	}
	return w.wait(ctx)
}

// place is where a frame waits.
type place struct {
	sequence uint64
	session  string // in which sequence counts, of a port without a queue; empty: it counts in the queue
	written  bool   // it does not wait any more
}

// queue hands a frame over and returns its place in the queue, or in the session of a port that has none.
func (c *Client) queue(ctx context.Context, port string, frame []byte, o SendOptions) (at place, err error) {
	if limit := c.nc.MaxPayload(); int64(len(frame)) > limit {
		return at, fmt.Errorf("port %s: the frame has %d bytes, the broker takes at most %d", port, len(frame), limit)
	}
	request := nats.NewMsg(c.Subjects.Tx(port))
	request.Data = frame
	// The stream knows by it a frame that is handed over again, as long as ipc.Remembered.
	request.Header.Set(ipc.HeaderMsgID, port+".send."+rand.Text())
	if o.TTL > 0 {
		request.Header.Set(ipc.HeaderTTL, o.TTL.String())
	}
	if o.Lease != "" {
		request.Header.Set(ipc.HeaderLease, o.Lease)
	}
	ack, header, err := c.handOver(ctx, port, request)
	if err == nil && ack.Error != nil && ack.Error.JetStream == errorTooLong {
		// The queue counts headers, and that of the id may be what it has no room for.
		request.Header.Del(ipc.HeaderMsgID)
		ack, header, err = c.handOver(ctx, port, request)
	}
	if err != nil {
		return at, err
	}
	switch e := ack.Error; {
	case e == nil:
		return place{ack.Sequence, ack.Session, ack.Stream == ipc.NoQueue}, nil
	case o.Wait && ack.Session != "":
		return place{ack.Sequence, ack.Session, false}, nil // the device takes its time
	case toldByWriter(header):
		return at, errors.New(e.Description) // it names the port, and says what became of the frame
	case e.JetStream == ipc.QueueFull:
		return at, fmt.Errorf("the queue of port %s is full: %s; is its device there? see `supervisor status`", port, e.Description)
	case header.Get(ipc.HeaderError) != "":
		return at, errors.New(e.Description) // the writer's, which names the port
	case e.JetStream == errorTooLong:
		return at, fmt.Errorf("port %s takes no frame of %d bytes; raise max_bytes of its framing, or of tx_framing where there is one", port, len(frame))
	default:
		return at, fmt.Errorf("port %s refused the frame of %d bytes: %s", port, len(frame), e.Description)
	}
}

// handOver makes the request that queues a frame, again and again while the supervisor is being upgraded: as long as nobody can
// have got it, and then for as long as the stream would know it by its id.
func (c *Client) handOver(ctx context.Context, port string, request *nats.Msg) (ack ipc.PubAck, header nats.Header, err error) {
	m, err := c.handAgain(ctx, port, request)
	if err != nil {
		return ack, nil, err
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return ack, nil, fmt.Errorf("port %s: answer of the queue: %w", port, err)
	}
	return ack, m.Header, nil
}

func (c *Client) handAgain(ctx context.Context, port string, request *nats.Msg) (*nats.Msg, error) {
	var first time.Time // when somebody may have got it first; zero: nobody has
	for nobody := 0; ; {
		tried := time.Now()
		until := tried.Add(answerLimit)
		if !first.IsZero() {
			until = first.Add(ipc.Remembered)
		}
		limited, cancel := context.WithDeadline(ctx, until)
		m, err := c.once(limited, request)
		cancel()
		switch {
		case err == nil:
			return m, nil
		case errors.Is(err, errDenied) && first.IsZero():
			return nil, fmt.Errorf("%w; nothing was sent", c.deniedPort(ctx, "send to", port, ipc.RoleSend))
		case errors.Is(err, errBroken) && first.IsZero():
			p, perr := c.Port(ctx, port)
			if perr != nil || p.Tx.QueueID == "" || request.Header.Get(ipc.HeaderMsgID) == "" { // nobody would know it
				return nil, c.whySilent(ctx, port, err)
			}
			first = tried
		case errors.Is(err, errBroken), errors.Is(err, errUnsent) && !first.IsZero() && ctx.Err() == nil:
		case nobodyAnswers(err) && nobody == nobodyTries:
			return nil, c.whyNobody(ctx, port)
		case errors.Is(err, errUnsent) && ctx.Err() == nil:
			nobody++
		default:
			return nil, c.whySilent(ctx, port, err)
		}
		if !first.IsZero() && time.Since(first) >= ipc.Remembered {
			return nil, c.whySilent(ctx, port, errBroken)
		}
		if err := c.reached(ctx); err != nil {
			if first.IsZero() {
				return nil, err
			}
			return nil, c.whySilent(ctx, port, errBroken)
		}
	}
}

// toldByWriter says whether an answer is a writer's that could have sent the frame, and not the refusal of what is wrong with
// it.
func toldByWriter(h nats.Header) bool {
	code, err := strconv.Atoi(h.Get(ipc.HeaderErrorCode))
	return err == nil && code >= ipc.CodeFailed
}

// whySilent explains that a queue has not answered. A frame may have been queued all the same, by a disk that is slow.
func (c *Client) whySilent(ctx context.Context, port string, cause error) error {
	if _, status, err := c.StatusJSON(ctx); err == nil && status.Broker.StoreError != "" {
		return fmt.Errorf("port %s: its queue does not answer: the store does not take frames: %s", port, status.Broker.StoreError)
	}
	return fmt.Errorf("port %s: no answer, so the frame may be sent all the same or not: %w", port, cause)
}

// whyNobody explains that nobody listens for frames to a port.
func (c *Client) whyNobody(ctx context.Context, port string) error {
	_, status, err := c.StatusJSON(ctx)
	if err != nil {
		return err
	}
	for _, p := range status.Ports {
		switch {
		case p.Name != port:
		case p.State == ipc.Open:
			return fmt.Errorf("port %s: the frame was not sent: its writer does not run, or finishes a frame that the device does not take; see `supervisor status`", port)
		default:
			return fmt.Errorf("port %s has no queue and is %s", port, stateOf(p))
		}
	}
	return errUnknownPort(port, status)
}
