package serialio

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Bell is an eventfd(2) by which one process wakes another that waits. A ring that comes before the wait ends it at once. The
// supervisor makes one for each port, and lends it to both workers.
type Bell int

// NewBell makes a bell, which is the caller's to Close.
func NewBell() (Bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("make an eventfd: %w", err)
	}
	return Bell(fd), nil
}

// Close frees the descriptor.
func (b Bell) Close() { _ = unix.Close(int(b)) }

// Ring wakes whoever waits.
func (b Bell) Ring() {
	_, _ = unix.Write(int(b), []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only at 2⁶⁴ rings, and then it has rung
}

// Wait returns when the bell has rung since the last Wait, or after a limit, to the microsecond. It may also return for no
// reason.
func (b Bell) Wait(limit time.Duration) error {
	timeout := unix.NsecToTimespec(max(limit, 0).Nanoseconds())
	fds := [...]unix.PollFd{{Fd: int32(b), Events: unix.POLLIN}}
	n, err := unix.Ppoll(fds[:], &timeout, nil)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("wait for what is received: %w", err)
	}
	if n > 0 {
		var count [8]byte
		_, _ = unix.Read(int(b), count[:]) // takes the ring back
	}
	return nil
}
