package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

const (
	// controlLimit is how long a driver may take over a control request, its break apart.
	controlLimit = 3 * time.Second
	// breakMax is the longest break.
	breakMax = 5 * time.Second
)

// controlError is why a control request was refused.
type controlError struct {
	code int
	err  error
}

func (e *controlError) Error() string { return e.err.Error() }

func refuse(code int, format string, args ...any) *controlError {
	return &controlError{code, fmt.Errorf(format, args...)}
}

// answerControl answers a control request.
func (p *port) answerControl(r micro.Request) {
	reply, refusal := p.control(r.Data(), r.Headers().Get(ipc.HeaderLease))
	var err error
	if refusal != nil {
		err = r.Error(strconv.Itoa(refusal.code), refusal.Error(), nil)
	} else {
		err = r.RespondJSON(reply)
	}
	if err != nil {
		p.log.Debug("a control request was not answered", "port", p.config.Name, "error", err)
	}
}

// control does what a request asks for, or nothing if any part of it is wrong. While another client than that with a token has a
// lease nothing can be changed.
func (p *port) control(request []byte, token string) (*ipc.ControlReply, *controlError) {
	wish, err := parseControl(request)
	if err != nil {
		return nil, refuse(ipc.CodeBadRequest, "port %s: %v", p.config.Name, err)
	}
	if holder, left := p.lease.heldByOther(token); left > 0 && wish.changes() {
		return nil, refuse(ipc.CodeLeased, "port %s: nothing was changed: %s", p.config.Name, ipc.HeldBy(holder, left))
	}
	h := p.awaitHeld()
	if h == nil {
		return nil, refuse(ipc.CodeNotOpen, "port %s is not open; see `supervisor status`", p.config.Name)
	}
	ctx, cancel := context.WithTimeout(h.ctx, controlLimit+wish.pause)
	defer cancel()
	var reply *ipc.ControlReply
	var failure error
	if done := p.line.do(ctx, func() { reply, failure = p.apply(ctx, h, wish) }); !done {
		if h.ctx.Err() != nil {
			return nil, refuse(ipc.CodeNotOpen, "port %s: the port closed meanwhile", p.config.Name)
		}
		return nil, refuse(ipc.CodeTimeout, "port %s: the driver has not answered for %s", p.config.Name, controlLimit)
	}
	var refusal *controlError
	switch {
	case failure == nil:
		return reply, nil
	case errors.As(failure, &refusal):
		return nil, refuse(refusal.code, "port %s: %w", p.config.Name, refusal)
	case errors.Is(failure, serialio.ErrHangup), errors.Is(failure, context.Canceled):
		return nil, refuse(ipc.CodeNotOpen, "port %s: %w", p.config.Name, failure)
	case errors.Is(failure, serialio.ErrUnsupported), errors.Is(failure, serialio.ErrRefused):
		return nil, refuse(ipc.CodeUnsupported, "port %s: %w", p.config.Name, failure)
	}
	return nil, refuse(ipc.CodeFailed, "port %s: %w", p.config.Name, failure)
}

// awaitHeld is the open device, or nil. With a supervisor that has just taken it over it may take a moment.
func (p *port) awaitHeld() *held {
	late := time.NewTimer(controlLimit)
	defer late.Stop()
	for {
		changed := p.board.next()
		if h := p.held.Load(); h != nil || !p.board.isOpen(p.config.Name) {
			return h
		}
		select {
		case <-changed:
		case <-late.C:
			return nil
		}
	}
}

// wish is a control request. What is to stay as it is has its zero value.
type wish struct {
	settings [][2]string // names and values of line settings
	dtr, rts serialio.Level
	flushIn  bool
	flushOut bool
	pause    time.Duration // of a break
}

// twice finds a key that an object has twice; empty: there is none.
func twice(object []byte) string {
	decoder := json.NewDecoder(bytes.NewReader(object))
	seen := map[string]bool{}
	_, err := decoder.Token() // the bracket
	for err == nil && decoder.More() {
		var key json.Token
		var value json.RawMessage
		if key, err = decoder.Token(); err == nil {
			err = decoder.Decode(&value)
		}
		name, _ := key.(string)
		if seen[name] {
			return name
		}
		seen[name] = true
	}
	return ""
}

// changes says whether there is more to do than to look.
func (w wish) changes() bool {
	return len(w.settings) > 0 || w.dtr != serialio.Keep || w.rts != serialio.Keep || w.flushIn || w.flushOut || w.pause > 0
}

// parseControl reads a request, whose values may be JSON strings, numbers or booleans.
func parseControl(request []byte) (w wish, err error) {
	w.dtr, w.rts = serialio.Keep, serialio.Keep
	var values map[string]any
	if len(bytes.TrimSpace(request)) == 0 {
		return w, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(request))
	decoder.UseNumber()
	err = decoder.Decode(&values)
	if _, more := decoder.Token(); err != nil || more != io.EOF {
		return w, errors.New(`the request is not a JSON object, such as {"baud": 9600, "dtr": "off"}`)
	}
	if key := twice(request); key != "" {
		return w, fmt.Errorf("%s stands there twice", key)
	}
	for key, v := range values {
		var value string
		switch v := v.(type) {
		case string:
			value = v
		case json.Number:
			value = v.String()
		case bool:
			value = map[bool]string{true: "on", false: "off"}[v]
		default:
			return w, fmt.Errorf("%s: it takes a single value", key)
		}
		if err := w.take(key, value); err != nil {
			return w, fmt.Errorf("%s: %w", key, err)
		}
	}
	return w, nil
}

// take notes one key and checks what can be checked without the device.
func (w *wish) take(key, value string) error {
	switch key {
	case ipc.ControlDTR:
		return level(&w.dtr, value)
	case ipc.ControlRTS:
		return level(&w.rts, value)
	case ipc.ControlFlush:
		w.flushIn, w.flushOut = value != "out", value != "in"
		if !slices.Contains([]string{"in", "out", "both"}, value) {
			return fmt.Errorf("%q is not known; use in, out or both", value)
		}
		return nil
	case ipc.ControlBreak:
		length, err := time.ParseDuration(value)
		if err != nil || length < time.Millisecond || length > breakMax {
			return fmt.Errorf("%q is not a duration from 1ms to %s, such as 250ms", value, breakMax)
		}
		w.pause = length
		return nil
	}
	if !slices.Contains(serialio.SettingNames, key) {
		return fmt.Errorf("unknown key; there are %s, dtr, rts, break and flush", strings.Join(serialio.SettingNames, ", "))
	}
	w.settings = append(w.settings, [2]string{key, value})
	settings := serialio.DefaultLine()
	return settings.Set(key, value)
}

func level(to *serialio.Level, value string) error {
	switch value {
	case "on", "true", "1":
		*to = serialio.On
	case "off", "false", "0":
		*to = serialio.Off
	default:
		return fmt.Errorf("%q is not known; use on or off", value)
	}
	return nil
}

// apply does what was wished for. What the device may not have comes first, so that nothing is done by halves.
func (p *port) apply(ctx context.Context, h *held, w wish) (*ipc.ControlReply, error) {
	c, err := h.port.Control()
	if err != nil {
		return nil, err
	}
	defer c.Release()
	if _, ok, err := c.Modem(); err != nil {
		return nil, err
	} else if !ok && (w.dtr != serialio.Keep || w.rts != serialio.Keep) {
		return nil, fmt.Errorf("%w: modem lines", serialio.ErrUnsupported)
	}
	if err := p.applyLine(c, h, w); err != nil {
		return nil, err
	}
	if err := errors.Join(c.SetDTR(w.dtr), c.SetRTS(w.rts), c.Flush(w.flushIn, w.flushOut)); err != nil {
		return nil, err
	}
	if w.pause > 0 {
		if err := c.Break(ctx, w.pause); err != nil {
			return nil, err
		}
	}
	p.look(h)
	return p.report(c, h)
}

// applyLine changes the line settings, if any are wished for.
func (p *port) applyLine(c *serialio.Control, h *held, w wish) error {
	if len(w.settings) == 0 {
		return nil
	}
	settings := h.line
	for _, s := range w.settings {
		if err := settings.Set(s[0], s[1]); err != nil {
			return err
		}
	}
	if err := settings.Validate(); err != nil {
		return refuse(ipc.CodeBadRequest, "%w", err)
	}
	settings, err := c.SetLine(settings)
	if err != nil {
		return err
	}
	h.line = settings
	p.board.port(p.config.Name, func(s *ipc.PortStatus) {
		if s.Session == h.session {
			s.Line, s.LineChanged = settings.String(), h.changed()
		}
	})
	p.log.Info("line settings changed until the port opens again", "port", p.config.Name, "line", settings.String())
	return nil
}

// changed says whether the line settings are others than when the port opened.
func (h *held) changed() bool { return h.line != h.port.Line() }

// report says how the line stands.
func (p *port) report(c *serialio.Control, h *held) (*ipc.ControlReply, error) {
	s := h.line
	reply := &ipc.ControlReply{
		Port: p.config.Name, Device: c.Device(), Baud: s.Baud, DataBits: s.DataBits, Parity: s.Parity, StopBits: s.StopBits, FlowControl: s.FlowControl,
	}
	if h.changed() {
		reply.Note = "the line settings differ from the config and last until the port opens again"
	}
	modem, ok, err := c.Modem()
	if err != nil {
		return nil, err
	}
	if ok {
		lines := ipc.ModemLines(modem)
		reply.Modem = &lines
	}
	counted, err := c.Errors()
	if err != nil {
		return nil, err
	}
	reply.LineErrors = ipc.LineErrors(counted)
	reply.Unread, reply.Unsent, err = c.Waiting()
	return reply, err
}
