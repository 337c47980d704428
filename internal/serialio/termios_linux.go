package serialio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// verify reads the line settings back. Drivers change or ignore what they cannot do without an error: an 8250 asked for
// 250000 baud stays at 115200. A pseudo-terminal has no line: it drops parity and word sizes, which is no fault.
func verify(fd int, device string, want LineSettings) error {
	got, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return fmt.Errorf("read back line settings of %s: %w", device, err)
	}
	if isPty(fd) {
		return nil
	}
	if have := settingsOf(got); have != want {
		return withHint(fmt.Errorf("open %s: asked for %s, the driver set %s", device, want, have), "choose line settings that the adapter has")
	}
	return nil
}

// settingsOf decodes a struct termios2, see ioctl_tty(2) and termios(3).
func settingsOf(t *unix.Termios) LineSettings {
	s := LineSettings{Baud: int(t.Ospeed), Parity: ParityNone, StopBits: 1}
	switch t.Cflag & unix.CSIZE {
	case unix.CS5:
		s.DataBits = 5
	case unix.CS6:
		s.DataBits = 6
	case unix.CS7:
		s.DataBits = 7
	case unix.CS8:
		s.DataBits = 8
	}
	if t.Cflag&unix.CSTOPB != 0 {
		s.StopBits = 2
	}
	if t.Cflag&unix.PARENB != 0 {
		s.Parity = ParityEven
		if t.Cflag&unix.PARODD != 0 {
			s.Parity = ParityOdd
		}
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
