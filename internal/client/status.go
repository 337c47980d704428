package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// answerLimit is how long the supervisor may take to answer.
const answerLimit = 5 * time.Second

// StatusJSON asks for the supervisor's status, as JSON and decoded.
func (c *Client) StatusJSON(ctx context.Context) ([]byte, ipc.Status, error) {
	var status ipc.Status
	m, err := c.askStatus(ctx)
	switch {
	case nobodyAnswers(err):
		return nil, status, fmt.Errorf("no supervisor answers below %q at %s", c.Subjects.Root, c.url)
	case err != nil:
		return nil, status, fmt.Errorf("ask %s for status: %w", c.url, err)
	}
	if err := json.Unmarshal(m.Data, &status); err != nil {
		return nil, status, fmt.Errorf("status of %s: %w", c.url, err)
	}
	return m.Data, status, nil
}

// statusLimit is how long the first answer may take before it is asked again: it was on its way when the supervisor ended.
const statusLimit = time.Second

// askStatus asks again while the supervisor comes up.
func (c *Client) askStatus(ctx context.Context) (m *nats.Msg, err error) {
	limit := statusLimit
	for begun := time.Now(); ; {
		limited, cancel := context.WithTimeout(ctx, limit)
		m, err = c.once(limited, nats.NewMsg(c.Subjects.Status()))
		cancel()
		switch {
		case err == nil:
			return m, nil
		case ctx.Err() != nil, errors.Is(err, errDenied):
			return nil, err
		case errors.Is(err, context.DeadlineExceeded):
			limit = min(2*limit, answerLimit)
		}
		if err := c.again(ctx, begun, err); err != nil {
			return nil, err
		}
	}
}

// PortNames lists the names of the ports in a status.
func PortNames(s ipc.Status) []string {
	var names []string
	for _, p := range s.Ports {
		names = append(names, p.Name)
	}
	return names
}

// stateOf is the state of a port and, if there is anything to say of it, why.
func stateOf(p ipc.PortStatus) string {
	switch {
	case p.Error != "":
		return fmt.Sprintf("%s: %s", p.State, p.Error)
	case p.State == ipc.Closed:
		return "closed: the supervisor is about to open it, or stops"
	}
	return string(p.State)
}

// errUnknownPort says which ports there are.
func errUnknownPort(port string, s ipc.Status) error {
	return fmt.Errorf("there is no port %q; this gateway has: %s", port, strings.Join(PortNames(s), ", "))
}

// checkPorts refuses ports that the gateway does not have.
func checkPorts(ports []string, s ipc.Status) error {
	for _, port := range ports {
		if !slices.Contains(PortNames(s), port) {
			return errUnknownPort(port, s)
		}
	}
	return nil
}

// WriteStatus writes a status as tables.
func WriteStatus(out io.Writer, s ipc.Status) error {
	ready := "ready"
	if !s.Ready {
		ready = "not ready"
	}
	fmt.Fprintf(out, "%s  %s  up %s  %s  store %s%s  (serialvisor %s, pid %d)\n", s.Name, ready, duration(s.UptimeSeconds), s.Broker.URL, s.Broker.Store, hub(s.Leaf), s.Version, s.PID)
	if s.Leaf != nil && s.Leaf.Error != "" {
		fmt.Fprintf(out, "the hub does not get what happens, which is kept in the history: %s\n", s.Leaf.Error)
	}
	if s.Broker.StoreError != "" {
		fmt.Fprintf(out, "history and queues do not store; live traffic goes on: %s\n", s.Broker.StoreError)
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PORT\tSTATE\tDEVICE\tLINE\tRECEIVED\tSENT\tQUEUED")
	for _, p := range s.Ports {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", p.Name, p.State, p.Device, p.Line,
			count(p.Rx.Frames, p.Rx.Bytes), count(p.Tx.Frames, p.Tx.Bytes), p.Tx.Queued)
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "WORKER\tSTATE\tPID\tRESTARTS\tLAST EXIT")
	var messages []string
	for _, w := range s.Workers {
		pid := "-"
		if w.PID != 0 {
			pid = fmt.Sprint(w.PID)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", w.Name, w.State, pid, w.Restarts, w.LastExit)
		if w.Message != "" {
			messages = append(messages, w.Name+": "+w.Message)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	list := slices.Clone(s.NotReady)
	for _, p := range s.Ports {
		for _, note := range notes(p) {
			list = append(list, p.Name+": "+note)
		}
	}
	if list = append(list, messages...); len(list) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.Join(list, "\n"))
	return err
}

// hub says how the gateway stands with its hub, if it has one.
func hub(l *ipc.LeafStatus) string {
	switch {
	case l == nil:
		return ""
	case !l.Connected && l.Error != "":
		return fmt.Sprintf("  hub not connected, %d behind: %s", l.Behind, l.Error)
	case !l.Connected:
		return fmt.Sprintf("  hub not connected, %d behind", l.Behind)
	case l.Behind > 0:
		return fmt.Sprintf("  hub %s, %d behind", l.URL, l.Behind)
	}
	return "  hub " + l.URL
}

// notes says what is wrong with a port, if anything.
func notes(p ipc.PortStatus) []string {
	var list []string
	if p.Error != "" {
		list = append(list, p.Error)
	}
	if l := p.Lease; l != nil {
		list = append(list, fmt.Sprintf("leased to %s until %s: others must wait", l.Holder, l.Expires.Local().Format(time.TimeOnly)))
	}
	if p.LineChanged {
		list = append(list, "the line settings were changed, until the port opens again")
	}
	if e := p.LineErrors; e != (ipc.LineErrors{}) {
		list = append(list, fmt.Sprintf("line errors since it opened: %d overrun, %d framing, %d parity, %d breaks", e.Overrun, e.Framing, e.Parity, e.Break))
	}
	if n := p.Rx.LostHistory; n > 0 {
		list = append(list, fmt.Sprintf("%d received frames are missing in the history", n))
	}
	if n := p.Tx.LostHistory; n > 0 {
		list = append(list, fmt.Sprintf("%d sent frames are missing in the history", n))
	}
	if n := p.Rx.LostForward; n > 0 {
		list = append(list, fmt.Sprintf("%d received frames could not be forwarded: the queue was full", n))
	}
	if n := p.Tx.Expired; n > 0 {
		list = append(list, fmt.Sprintf("frames queued and not sent: %d", n))
	}
	return list
}

func count(frames, bytes uint64) string {
	unit := "frames"
	if frames == 1 {
		unit = "frame"
	}
	return fmt.Sprintf("%d %s, %s", frames, unit, size(bytes))
}

func size(n uint64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n) / 1024
	i := 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

func duration(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
