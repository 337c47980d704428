package simulator

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// LetGo closes our own end of the port, so that Opened tells whether somebody else has it open. From now on Read fails
// with EIO while nobody has; what was said meanwhile is kept for the next one.
func (p *Pty) LetGo() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slave < 0 {
		return nil
	}
	err := unix.Close(p.slave)
	p.slave = -1
	return err
}

// Opened says whether somebody has the port open, after LetGo. The kernel tells nobody when that changes: one looks
// again.
func (p *Pty) Opened() (bool, error) {
	fds := [...]unix.PollFd{{}}
	raw, err := p.master.SyscallConn()
	if err != nil {
		return false, err
	}
	var failure error
	if err := raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		failure = poll(fds[:])
	}); err != nil {
		return false, err
	}
	return fds[0].Revents&unix.POLLHUP == 0, failure
}

// looks are how often a port must seem empty to be so. Behind the 4 KiB that a read(2) takes from, up to 16 KiB wait in the
// kernel until there is room; a user who is quick can have taken them each time that one looks, some five times in all.
const looks = 32

// ErrExclusive says that the port's user lets nobody else open it, not even for a question (TIOCEXCL).
var ErrExclusive = errors.New("the port is held exclusively")

// Unread says whether something that was said has not been read yet. Only the port's own end can tell, which is opened
// for a moment, and not if it is held exclusively: ErrExclusive.
func (p *Pty) Unread() (bool, error) {
	fd, err := unix.Open(p.path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.EBUSY {
		return false, ErrExclusive
	}
	if err != nil {
		return false, fmt.Errorf("open %s: %w", p.path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	for range looks {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // waits for a read(2) that is under way
		if err != nil {
			return false, fmt.Errorf("count what %s has unread: %w", p.path, err)
		}
		fds := [...]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if err := poll(fds[:]); err != nil { // waits for bytes that are on their way from the device
			return false, err
		}
		// Counted, too, as poll says nothing of bytes that are fewer than the user's VMIN.
		if n > 0 || fds[0].Revents&unix.POLLIN != 0 {
			return true, nil
		}
	}
	return false, nil
}

// poll looks at descriptors without waiting.
func poll(fds []unix.PollFd) error {
	for {
		_, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err
		}
	}
}
