package serialio

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Control is a hold on an open port's line, apart from what it sends and receives. It has a descriptor of its own, so that a
// call into a driver that takes long keeps nobody from closing the port. It is for one goroutine, which must Release it
// soon: the device's name is not free before.
type Control struct {
	fd     int
	device string
	base   LineErrors
}

// Control gives a hold on the line. A port that is closed gives ErrHangup.
func (p *Port) Control() (*Control, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keeper < 0 {
		return nil, fmt.Errorf("%s: %w", p.device, ErrHangup)
	}
	fd, err := unix.FcntlInt(uintptr(p.keeper), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: duplicate descriptor: %w", p.device, err)
	}
	return &Control{fd, p.device, p.errorsBefore}, nil
}

// Release gives the hold back.
func (c *Control) Release() { _ = unix.Close(c.fd) }

// Device is the path that the port was opened by.
func (c *Control) Device() string { return c.device }

// SetLine changes the line settings at once, without waiting for output to drain, and returns what the driver has made of
// them. One that it refuses or changes is an error that leaves them as they were.
func (c *Control) SetLine(s LineSettings) (LineSettings, error) {
	if err := s.Validate(); err != nil {
		return s, err
	}
	have, err := configure(c.fd, s)
	if err != nil {
		return have, fmt.Errorf("%s: %w", c.device, failure(err))
	}
	return have, nil
}

// SetDTR raises or lowers DTR, SetRTS RTS. A driver without modem lines gives ErrUnsupported.
func (c *Control) SetDTR(level Level) error { return c.setModem("DTR", unix.TIOCM_DTR, level) }

// SetRTS is SetDTR for RTS.
func (c *Control) SetRTS(level Level) error { return c.setModem("RTS", unix.TIOCM_RTS, level) }

func (c *Control) setModem(name string, line int, level Level) error {
	if err := setModemLine(c.fd, line, level); err != nil {
		return fmt.Errorf("%s: set %s %s: %w", c.device, name, level, errUnsupported(err, "modem lines"))
	}
	return nil
}

// Modem reads the modem lines; ok is false for a driver without any.
func (c *Control) Modem() (lines ModemLines, ok bool, err error) {
	lines, ok, err = modemLines(c.fd)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.device, err)
	}
	return lines, ok, err
}

// Errors reads the driver's error counters since the port opened.
func (c *Control) Errors() (LineErrors, error) {
	now, err := lineErrors(c.fd)
	if err != nil {
		return now, fmt.Errorf("%s: %w", c.device, err)
	}
	return now.since(c.base), nil
}

// Break holds the line low for so long, or until ctx ends. What is sent meanwhile is garbled.
func (c *Control) Break(ctx context.Context, length time.Duration) error {
	if err := unix.IoctlSetInt(c.fd, unix.TIOCSBRK, 0); err != nil {
		return fmt.Errorf("%s: begin a break: %w", c.device, errUnsupported(failure(err), "break"))
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := unix.IoctlSetInt(c.fd, unix.TIOCCBRK, 0); err != nil {
		return fmt.Errorf("%s: end a break: %w", c.device, failure(err))
	}
	return ctx.Err()
}

// Flush drops what was received and not read yet, and what was written and not sent yet.
func (c *Control) Flush(in, out bool) error {
	queue := unix.TCIFLUSH
	switch {
	case in && out:
		queue = unix.TCIOFLUSH
	case out:
		queue = unix.TCOFLUSH
	case !in:
		return nil
	}
	if err := unix.IoctlSetInt(c.fd, unix.TCFLSH, queue); err != nil {
		return fmt.Errorf("%s: flush: %w", c.device, failure(err))
	}
	return nil
}

// Waiting counts the bytes that wait in the kernel, received and not read, written and not sent.
func (c *Control) Waiting() (unread, unsent int, err error) {
	unread, err = unix.IoctlGetInt(c.fd, unix.TIOCINQ)
	unsent, err2 := unix.IoctlGetInt(c.fd, unix.TIOCOUTQ)
	if err = errors.Join(err, err2); err != nil {
		return 0, 0, fmt.Errorf("%s: count waiting bytes: %w", c.device, failure(err))
	}
	return unread, unsent, nil
}
