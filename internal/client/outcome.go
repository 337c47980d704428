package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// outcome is what becomes of one frame in a port's queue, or on its way to the device.
type outcome struct {
	client   *Client
	port     string
	queueID  string // or the session, if direct; empty: not known
	direct   bool   // there is no queue, and the device does not take the whole frame
	sequence uint64 // in the queue
	begun    time.Time
	news     chan *nats.Msg
	subs     []*nats.Subscription
}

// watchOutcome begins to listen for what becomes of a frame that is to be queued.
func (c *Client) watchOutcome(ctx context.Context, port string) (*outcome, error) {
	w := &outcome{client: c, port: port, begun: time.Now(), news: make(chan *nats.Msg, backlog)}
	status, err := c.Port(ctx, port)
	if err != nil {
		return nil, err
	}
	w.queueID = status.Tx.QueueID
	for _, subject := range w.subjects() {
		sub, err := c.nc.ChanSubscribe(subject, w.news)
		if err != nil {
			w.stop()
			return nil, fmt.Errorf("port %s: watch what is sent: %w", port, err)
		}
		w.subs = append(w.subs, sub)
	}
	return w, nil
}

func (w *outcome) subjects() []string {
	return []string{w.client.Subjects.Sent(w.port), w.client.Subjects.Expired(w.port)}
}

func (w *outcome) stop() {
	for _, sub := range w.subs {
		_ = sub.Unsubscribe()
	}
}

// Looks at the history after the connection was made again: what was told meanwhile may come to be in it a moment later.
const (
	looks     = 3
	lookAgain = 2 * time.Second
)

// wait returns nil when the frame was written, or says what else became of it, or that nobody knows.
func (w *outcome) wait(ctx context.Context) error {
	look := time.NewTimer(0)
	defer look.Stop()
	<-look.C
	late := time.NewTimer(waitsLong)
	defer late.Stop()
	again := 0
	for {
		select {
		case <-ctx.Done():
			if !w.client.nc.IsConnected() {
				return fmt.Errorf("port %s: the supervisor is gone; the frame is %s, and whether it was written is not known: %w", w.port, w.where(), ctx.Err())
			}
			return fmt.Errorf("port %s: the frame is %s, and not written yet", w.port, w.where())
		case <-late.C:
			if !w.direct {
				w.sayWhy(ctx)
			} else if over, err := w.cutOff(ctx); over {
				return err
			} else {
				late.Reset(waitsLong)
			}
		case m := <-w.news:
			if over, err := w.over(m.Subject, m.Header); over {
				return err
			}
		case <-w.client.back:
			again = 0
			look.Reset(0)
		case <-look.C:
			again++
			over, err := w.look(ctx)
			switch {
			case over:
				return err
			case err != nil && again >= looks:
				return fmt.Errorf("port %s: the supervisor was gone meanwhile, and whether the frame was written is not known: %w", w.port, err)
			case again < looks:
				look.Reset(lookAgain)
			}
		}
	}
}

// where says where the frame is.
func (w *outcome) where() string {
	if w.direct {
		return "on its way to the device"
	}
	return "queued"
}

// cutOff says whether a frame without a queue is over, because the device was unplugged or the port opened anew meanwhile.
func (w *outcome) cutOff(ctx context.Context) (over bool, err error) {
	status, err := w.client.Port(ctx, w.port)
	if err != nil || status.Session == w.queueID {
		return false, nil
	}
	// A writer tells before its session is over.
	for len(w.news) > 0 {
		m := <-w.news
		if over, err := w.over(m.Subject, m.Header); over {
			return true, err
		}
	}
	return true, fmt.Errorf("port %s: %w", w.port, errCutOff)
}

var errCutOff = errors.New("the port was closed before the device took the whole frame; part of it may have got through")

// waitsLong is after how long it is said for what a frame waits.
const waitsLong = 2 * time.Second

// sayWhy says on standard error for what the frame waits.
func (w *outcome) sayWhy(ctx context.Context) {
	status, err := w.client.Port(ctx, w.port)
	why := ""
	switch {
	case err != nil:
		return
	case status.State != ipc.Open:
		why = fmt.Sprintf("the port is %s", status.State)
	case status.Lease != nil:
		why = status.Lease.Holder + " has a lease on the port"
	case status.Tx.Queued > 1:
		why = fmt.Sprintf("%d frames wait in its queue", status.Tx.Queued)
	default:
		why = "the device does not take it"
	}
	fmt.Fprintf(os.Stderr, "supervisor: port %s: the frame is queued, and waits: %s; Ctrl-C leaves it in the queue\n", w.port, why)
}

// over says whether a message tells what became of the frame, and what.
func (w *outcome) over(subject string, h nats.Header) (bool, error) {
	if w.queueID != "" && h.Get(ipc.HeaderMsgID) != ipc.SentID(w.port, w.queueID, w.sequence) ||
		h.Get(ipc.HeaderQueueSeq) != strconv.FormatUint(w.sequence, 10) {
		return false, nil
	}
	if _, kind, _ := w.client.Subjects.Split(subject); kind == "expired" {
		return true, fmt.Errorf("port %s: the frame was not sent: %s", w.port, h.Get(ipc.HeaderReason))
	}
	return true, nil
}

// errTold ends the reading of the history.
var errTold = errors.New("told")

// look asks what became of the frame while there was no connection. If it is not over, an error says why that is not known.
func (w *outcome) look(ctx context.Context) (over bool, err error) {
	status, err := w.client.Port(ctx, w.port)
	if err != nil {
		return false, err
	}
	// Who may send cannot read the history.
	tap, err := Connect(ctx, w.client.place, ipc.RoleTap, nats.NoReconnect())
	if err != nil {
		return false, err
	}
	defer tap.Close()
	stream, err := tap.history(ctx)
	if err != nil {
		return false, err
	}
	var told error
	err = readStored(ctx, stream, w.subjects(), time.Since(w.begun)+clockSkew, func(m jetstream.Msg, _ time.Time) error {
		if over, told = w.over(m.Subject(), m.Headers()); over {
			return errTold
		}
		return nil
	})
	switch id := status.Tx.QueueID; {
	case errors.Is(err, errTold):
		return true, told
	case err != nil:
		return false, err
	case w.direct && status.Session != w.queueID:
		return true, fmt.Errorf("port %s: %w", w.port, errCutOff)
	case w.queueID != "" && id != "" && id != w.queueID:
		return false, errors.New("its queue is gone, and the history does not have it")
	}
	return false, nil
}

// clockSkew is how much the supervisor's clock may be behind ours.
const clockSkew = time.Minute
