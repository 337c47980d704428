package client

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// controlAnswerLimit is how long the supervisor may take over a control request: it gives up on a driver before, and a
// break takes its time.
const controlAnswerLimit = 15 * time.Second

// Control asks for changes of a port's line, by keys and values as in ipc.ControlReply and ipc.ControlDTR …, and returns
// how it stands then. Without any it only asks that. A request that is refused has changed nothing.
func (c *Client) Control(ctx context.Context, port string, changes map[string]string, lease string) (reply ipc.ControlReply, err error) {
	m := nats.NewMsg(c.Subjects.Control(port))
	if lease != "" {
		m.Header.Set(ipc.HeaderLease, lease)
	}
	for begun := time.Now(); ; {
		err = c.ask(ctx, "port "+port, controlAnswerLimit, m, changes, &reply)
		if err == nil || !repeatable(changes) || !c.wasReplaced(ctx, port, err) || time.Since(begun) > comesUp {
			break
		}
	}
	if errors.Is(err, errDenied) {
		return reply, c.deniedPort(ctx, "control", port, ipc.RoleSend)
	}
	if nobodyAnswers(err) {
		_, status, err := c.StatusJSON(ctx)
		if err != nil {
			return reply, err
		}
		return reply, errUnknownPort(port, status)
	}
	return reply, err
}

// repeatable says whether changes come to the same when they are made again.
func repeatable(changes map[string]string) bool {
	_, pause := changes[ipc.ControlBreak]
	_, flush := changes[ipc.ControlFlush]
	return !pause && !flush
}

// wasReplaced says whether a request about a port failed only because the supervisor was being replaced: the port is open still.
func (c *Client) wasReplaced(ctx context.Context, port string, err error) bool {
	var refusal *refusedError
	closed := errors.As(err, &refusal) && refusal.code == ipc.CodeNotOpen
	if !closed && !errors.Is(err, errBroken) {
		return false
	}
	p, err := c.Port(ctx, port)
	return err == nil && p.State == ipc.Open
}

// LineValues are what a reply says, by key, in the order in which people read it. Drivers without modem lines have none.
func LineValues(r ipc.ControlReply) [][2]string {
	values := [][2]string{
		{"baud", strconv.Itoa(r.Baud)}, {"data_bits", strconv.Itoa(r.DataBits)}, {"parity", r.Parity}, {"stop_bits", r.StopBits},
		{"flow_control", r.FlowControl},
	}
	if m := r.Modem; m != nil {
		for _, line := range []struct {
			name string
			on   bool
		}{{"dtr", m.DTR}, {"rts", m.RTS}, {"cts", m.CTS}, {"dsr", m.DSR}, {"dcd", m.DCD}, {"ri", m.RI}} {
			level := "off"
			if line.on {
				level = "on"
			}
			values = append(values, [2]string{line.name, level})
		}
	}
	e := r.LineErrors
	return append(values, [][2]string{
		{"overrun_errors", strconv.FormatUint(e.Overrun, 10)}, {"framing_errors", strconv.FormatUint(e.Framing, 10)},
		{"parity_errors", strconv.FormatUint(e.Parity, 10)}, {"breaks", strconv.FormatUint(e.Break, 10)},
		{"unread", strconv.Itoa(r.Unread)}, {"unsent", strconv.Itoa(r.Unsent)},
	}...)
}
