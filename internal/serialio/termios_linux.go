package serialio

import (
	"fmt"

	"github.com/tarm/serial"
	"golang.org/x/sys/unix"
)

// tarmConfig is the part of the settings that tarm/serial can set, with something near for the rest. No worker sees that:
// configure sets the whole before one has a descriptor.
func tarmConfig(device string, s LineSettings) *serial.Config {
	c := &serial.Config{Name: device, Baud: 9600, Size: byte(s.DataBits), StopBits: serial.Stop1, Parity: serial.ParityNone}
	if s.StopBits != StopOne {
		c.StopBits = serial.Stop2
	}
	switch s.Parity {
	case ParityOdd, ParityMark:
		c.Parity = serial.ParityOdd
	case ParityEven, ParitySpace:
		c.Parity = serial.ParityEven
	}
	if _, standard := standardBauds[s.Baud]; standard {
		c.Baud = s.Baud
	}
	return c
}

// standardBauds are the rates that tarm/serial knows.
var standardBauds = map[int]struct{}{
	50: {}, 75: {}, 110: {}, 134: {}, 150: {}, 200: {}, 300: {}, 600: {}, 1200: {}, 1800: {}, 2400: {}, 4800: {}, 9600: {}, 19200: {}, 38400: {},
	57600: {}, 115200: {}, 230400: {}, 460800: {}, 500000: {}, 576000: {}, 921600: {}, 1000000: {}, 1152000: {}, 1500000: {}, 2000000: {},
	2500000: {}, 3000000: {}, 3500000: {}, 4000000: {},
}

// configure sets what is asked for and reads it back. Drivers change or ignore what they cannot do without an error: an
// 8250 asked for 250000 baud stays at 115200. That is an error here, and before is set again. A pseudo-terminal has no line: it
// drops parity and word sizes, which is no fault.
func configure(fd int, s LineSettings) (LineSettings, error) {
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return s, fmt.Errorf("read line settings: %w", err)
	}
	want := *before
	s.encode(&want)
	if err := unix.IoctlSetTermios(fd, unix.TCSETS2, &want); err != nil {
		return s, fmt.Errorf("set %s: %w", s, err)
	}
	got, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return s, fmt.Errorf("read back line settings: %w", err)
	}
	if isPty(fd) {
		return s, nil
	}
	have := decodeLine(got)
	have.Baud = divided(fd, have.Baud)
	if !have.near(s) {
		_ = unix.IoctlSetTermios(fd, unix.TCSETS2, before) // the error that counts is the one below
		return s, withHint(fmt.Errorf("%w: it set %s instead of %s", ErrRefused, have, s), "choose line settings that the adapter has")
	}
	return have, nil
}

// near says whether have is want as far as a UART cares: its clock is divided by whole numbers, and receivers stand 2 % of
// difference.
func (s LineSettings) near(want LineSettings) bool {
	off := s.Baud - want.Baud
	s.Baud = want.Baud
	return s == want && max(off, -off)*50 <= want.Baud
}

// encode changes a struct termios2 to the settings and to raw bytes, see ioctl_tty(2) and termios(3). Bytes with a parity
// or framing error are passed on as they are, as dropping them would hide what the line does; the driver counts them.
func (s LineSettings) encode(t *unix.Termios) {
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag &^= unix.CBAUD | unix.CIBAUD | unix.CSIZE | unix.CSTOPB | unix.PARENB | unix.PARODD | unix.CMSPAR | unix.CRTSCTS |
		unix.HUPCL // so that DTR stays when the port closes
	t.Cflag |= unix.BOTHER | unix.CREAD | unix.CLOCAL | wordSizes[s.DataBits]
	t.Ispeed, t.Ospeed = uint32(s.Baud), uint32(s.Baud) // no speed in CIBAUD: both directions have one
	if s.StopBits != StopOne {
		t.Cflag |= unix.CSTOPB
	}
	switch s.Parity {
	case ParityOdd:
		t.Cflag |= unix.PARENB | unix.PARODD
	case ParityEven:
		t.Cflag |= unix.PARENB
	case ParityMark:
		t.Cflag |= unix.PARENB | unix.PARODD | unix.CMSPAR
	case ParitySpace:
		t.Cflag |= unix.PARENB | unix.CMSPAR
	}
	switch s.FlowControl {
	case FlowRTSCTS:
		t.Cflag |= unix.CRTSCTS
	case FlowXONXOFF:
		t.Iflag |= unix.IXON | unix.IXOFF
	}
	clear(t.Cc[:])
	t.Cc[unix.VMIN] = 1
	t.Cc[unix.VSTART], t.Cc[unix.VSTOP] = 0x11, 0x13 // DC1 and DC3
}

var wordSizes = map[int]uint32{5: unix.CS5, 6: unix.CS6, 7: unix.CS7, 8: unix.CS8}

// decodeLine is the inverse of encode.
func decodeLine(t *unix.Termios) LineSettings {
	s := LineSettings{Baud: int(t.Ospeed), Parity: ParityNone, StopBits: StopOne, FlowControl: FlowNone}
	for bits, size := range wordSizes {
		if t.Cflag&unix.CSIZE == size {
			s.DataBits = bits
		}
	}
	if t.Cflag&unix.CSTOPB != 0 {
		s.StopBits = StopTwo
		if s.DataBits == 5 {
			s.StopBits = StopOneAndHalf
		}
	}
	switch t.Cflag & (unix.PARENB | unix.PARODD | unix.CMSPAR) {
	case unix.PARENB | unix.PARODD:
		s.Parity = ParityOdd
	case unix.PARENB:
		s.Parity = ParityEven
	case unix.PARENB | unix.PARODD | unix.CMSPAR:
		s.Parity = ParityMark
	case unix.PARENB | unix.CMSPAR:
		s.Parity = ParitySpace
	}
	switch {
	case t.Cflag&unix.CRTSCTS != 0:
		s.FlowControl = FlowRTSCTS
	case t.Iflag&unix.IXON != 0:
		s.FlowControl = FlowXONXOFF
	}
	return s
}

// isPty says whether fd is the slave of a pseudo-terminal: character majors 136 to 143, see the kernel's
// Documentation/admin-guide/devices.txt.
func isPty(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	major := unix.Major(st.Rdev)
	return major >= 136 && major <= 143
}
