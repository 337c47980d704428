package supervisor

import (
	"context"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// line does what concerns a port's line apart from the bytes on it. Calls are made one at a time and aside: a driver may
// take as long as it likes over each, and nobody but who asked for it waits.
type line struct {
	calls chan func()
}

// lookLimit is how long status waits for drivers to tell how their lines stand, and for the store to tell how long queues
// are. Who takes longer is not waited for again until he has answered.
const lookLimit = 50 * time.Millisecond

func newLine() *line { return &line{make(chan func())} }

// Run makes the calls until ctx ends. One that is stuck in a driver then is left to the kernel.
func (l *line) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-l.calls:
			done := make(chan struct{})
			go func() { // waited for below
				defer close(done)
				call()
			}()
			select {
			case <-done:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// try makes a call if none is under way, and returns a channel that is closed after it, or else nil.
func (l *line) try(call func()) <-chan struct{} {
	done := make(chan struct{})
	select {
	case l.calls <- func() { defer close(done); call() }:
		return done
	default:
		return nil
	}
}

// do makes a call when those before it are done. It returns false if that has not happened before ctx ended.
func (l *line) do(ctx context.Context, call func()) bool {
	done := make(chan struct{})
	select {
	case l.calls <- func() { defer close(done); call() }:
	case <-ctx.Done():
		return false
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// held is an open device, for who wants to do something with its line.
type held struct {
	port    *serialio.Port
	session string
	ctx     context.Context       // ends when the port closes
	line    serialio.LineSettings // in force; only calls of the port's line touch it
}

// look notes on the board how the lines of all open ports stand now, or before long. It also waits for other looks.
func look(ports []*port, looks ...<-chan struct{}) {
	limit := time.NewTimer(lookLimit)
	defer limit.Stop()
	for _, p := range ports {
		if h := p.held.Load(); h != nil {
			if done := p.line.try(func() { p.look(h) }); done != nil {
				looks = append(looks, done)
			}
		}
	}
	for _, done := range looks {
		select {
		case <-done:
		case <-limit.C:
			return
		}
	}
}

// look notes how the line stands. A device that is gone tells nothing, and its port will say so by itself.
func (p *port) look(h *held) {
	c, err := h.port.Control()
	if err != nil {
		return
	}
	defer c.Release()
	modem, hasModem, err := c.Modem()
	if err != nil {
		return
	}
	errors, err := c.Errors()
	if err != nil {
		return
	}
	p.board.port(p.config.Name, func(s *ipc.PortStatus) {
		if s.Session != h.session {
			return // it has closed meanwhile
		}
		s.LineErrors = ipc.LineErrors(errors)
		s.Modem = nil
		if hasModem {
			lines := ipc.ModemLines(modem)
			s.Modem = &lines
		}
	})
}
