package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// line is a serial device as its driver sees it, through a descriptor that is taken from the supervisor with
// pidfd_getfd(2): to open the device once more would change what is to be looked at.
type line struct{ fd int }

// lineOf takes a descriptor of a device from a process. close must follow before the device is unplugged.
func lineOf(pid int, device string) (*line, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, path := range fds {
		if target, err := os.Readlink(path); err != nil || target != device {
			continue
		}
		number, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return nil, err
		}
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if err != nil {
			return nil, fmt.Errorf("descriptor %d of %d: %w", number, pid, err)
		}
		return &line{fd}, nil
	}
	return nil, fmt.Errorf("process %d does not have %s open", pid, device)
}

func (l *line) close() { _ = unix.Close(l.fd) }

// withLine uses a device of a gateway.
func (g *gateway) withLine(device string, use func(*line) error) error {
	l, err := lineOf(g.pid(), device)
	if err != nil {
		return err
	}
	defer l.close()
	return use(l)
}

func (l *line) termios() (unix.Termios, error) {
	t, err := unix.IoctlGetTermios(l.fd, unix.TCGETS2)
	if err != nil {
		return unix.Termios{}, fmt.Errorf("TCGETS2: %w", err)
	}
	return *t, nil
}

// modem is the state of modem lines, a bit set of TIOCM_DTR and so on.
func (l *line) modem() (int, error) {
	v, err := unix.IoctlGetInt(l.fd, unix.TIOCMGET)
	if err != nil {
		err = fmt.Errorf("TIOCMGET: %w", err)
	}
	return v, err
}

// clear lowers modem lines.
func (l *line) clear(bits int) error {
	if err := unix.IoctlSetPointerInt(l.fd, unix.TIOCMBIC, bits); err != nil {
		return fmt.Errorf("TIOCMBIC: %w", err)
	}
	return nil
}

func (l *line) exclusive() (bool, error) {
	v, err := unix.IoctlGetInt(l.fd, unix.TIOCGEXCL)
	if err != nil {
		err = fmt.Errorf("TIOCGEXCL: %w", err)
	}
	return v != 0, err
}

// notation words line settings: "9600 8N1", and behind it what else is on.
func notation(t unix.Termios) string {
	bits := map[uint32]string{unix.CS5: "5", unix.CS6: "6", unix.CS7: "7", unix.CS8: "8"}[t.Cflag&unix.CSIZE]
	parity := "N"
	if t.Cflag&unix.PARENB != 0 {
		parity = map[uint32]string{0: "E", unix.PARODD: "O", unix.CMSPAR: "S", unix.CMSPAR | unix.PARODD: "M"}[t.Cflag&(unix.PARODD|unix.CMSPAR)]
	}
	stop := "1"
	if t.Cflag&unix.CSTOPB != 0 {
		if stop = "2"; bits == "5" {
			stop = "1.5" // what a 16550A makes of it
		}
	}
	words := []string{fmt.Sprintf("%d %s%s%s", t.Ospeed, bits, parity, stop)}
	if t.Cflag&unix.CRTSCTS != 0 {
		words = append(words, "rtscts")
	}
	if t.Iflag&(unix.IXON|unix.IXOFF) == unix.IXON|unix.IXOFF {
		words = append(words, "xonxoff")
	}
	return strings.Join(words, " ")
}
