package serialio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Handover is what a supervisor must know of an open port, beside its descriptors, to go on with one that another has
// opened.
type Handover struct {
	Device       string
	Line         LineSettings
	LowLatency   bool
	ErrorsBefore LineErrors
}

// Descriptors are the keeper, the reader's and the writer's, for another supervisor to Adopt. They stay the port's.
func (p *Port) Descriptors() (keeper, reader, writer int) { return p.keeper, p.reader, p.writer }

// Handover is what Adopt needs.
func (p *Port) Handover() Handover {
	return Handover{p.device, p.line, p.lowLatency, p.errorsBefore}
}

// Adopt goes on with a port that another process has opened, configured and locked, without opening the device: the lock is
// the keeper's, and came along. The descriptors are the port's from then on, or closed with an error.
func Adopt(h Handover, keeper, reader, writer int) (*Port, error) {
	p := &Port{device: h.Device, line: h.Line, lowLatency: h.LowLatency, errorsBefore: h.ErrorsBefore, keeper: keeper, reader: reader, writer: writer}
	fds := []unix.PollFd{{Fd: int32(keeper)}}
	if _, err := unix.Poll(fds, 0); err != nil || fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
		p.closeAll()
		return nil, fmt.Errorf("%s: %w while nobody was there", h.Device, ErrHangup)
	}
	if _, err := unix.IoctlGetTermios(keeper, unix.TCGETS2); err != nil || !sameDevice(keeper, reader) || !sameDevice(keeper, writer) {
		p.closeAll()
		return nil, fmt.Errorf("%s: what was handed over is not one serial device", h.Device)
	}
	return p, nil
}
