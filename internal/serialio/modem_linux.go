package serialio

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ModemLines are the lines beside data, see TIOCMGET in ioctl_tty(2). The first two are ours, the rest the device's.
type ModemLines struct {
	DTR, RTS          bool
	CTS, DSR, DCD, RI bool
}

// modemLines reads the lines. Drivers without them give ok false.
func modemLines(fd int) (m ModemLines, ok bool, err error) {
	bits, err := unix.IoctlGetInt(fd, unix.TIOCMGET)
	if unsupported(err) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("read modem lines: %w", failure(err))
	}
	on := func(bit int) bool { return bits&bit != 0 }
	return ModemLines{
		DTR: on(unix.TIOCM_DTR), RTS: on(unix.TIOCM_RTS),
		CTS: on(unix.TIOCM_CTS), DSR: on(unix.TIOCM_DSR), DCD: on(unix.TIOCM_CD), RI: on(unix.TIOCM_RI),
	}, true, nil
}

// setModemLine raises or lowers unix.TIOCM_DTR or unix.TIOCM_RTS.
func setModemLine(fd, line int, level Level) error {
	if level == Keep {
		return nil
	}
	request := uint(unix.TIOCMBIS)
	if level == Off {
		request = unix.TIOCMBIC
	}
	return failure(unix.IoctlSetPointerInt(fd, request, line))
}

// initModemLines sets the lines as they are wanted after opening. RTS is left alone where the driver switches it itself.
func initModemLines(fd int, s Settings) error {
	rts := s.RTS
	if s.Line.FlowControl == FlowRTSCTS || s.RS485.Enabled {
		rts = Keep
	}
	for _, l := range []struct {
		name  string
		bit   int
		level Level
	}{{"dtr", unix.TIOCM_DTR, s.DTR}, {"rts", unix.TIOCM_RTS, rts}} {
		err := setModemLine(fd, l.bit, l.level)
		// What open(2) has raised is on, where the driver has it at all; and a pty has nothing to lower.
		if unsupported(err) && (l.level == On || isPty(fd)) {
			continue
		}
		if err != nil {
			return fmt.Errorf("set %s %s: %w", l.name, l.level, err)
		}
	}
	return nil
}

// LineErrors are a driver's error counters, since the port opened.
type LineErrors struct{ Overrun, Framing, Parity, Break uint64 }

// counterStruct is struct serial_icounter_struct of include/uapi/linux/serial.h, of TIOCGICOUNT.
type counterStruct struct {
	_          [6]int32 // cts, dsr, rng, dcd, rx, tx
	frame      uint32
	overrun    uint32
	parity     uint32
	brk        uint32
	bufOverrun uint32
	_          [9]int32
}

// lineErrors reads the counters as the driver has them, which is zero for one without. Bytes that found the tty's buffer
// full count as overrun too.
func lineErrors(fd int) (LineErrors, error) {
	var c counterStruct
	err := ioctl(fd, unix.TIOCGICOUNT, unsafe.Pointer(&c))
	if unsupported(err) {
		return LineErrors{}, nil
	}
	if err != nil {
		return LineErrors{}, fmt.Errorf("read error counters: %w", failure(err))
	}
	return LineErrors{uint64(c.overrun) + uint64(c.bufOverrun), uint64(c.frame), uint64(c.parity), uint64(c.brk)}, nil
}

// since is what was counted after before was read; a driver that has started over has counted all of e.
func (e LineErrors) since(before LineErrors) LineErrors {
	less := func(now, then uint64) uint64 {
		if now < then {
			return now
		}
		return now - then
	}
	return LineErrors{
		less(e.Overrun, before.Overrun), less(e.Framing, before.Framing), less(e.Parity, before.Parity), less(e.Break, before.Break),
	}
}

// errUnsupported gives what a driver does not have a sentence.
func errUnsupported(err error, what string) error {
	if unsupported(err) {
		return fmt.Errorf("%w: %s", ErrUnsupported, what)
	}
	return err
}
