package serialio

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Pipe is what a worker moves bytes through between device and shared memory. The kernel moves them between a tty and a pipe
// in one piece with what it counts, so that a worker that is killed loses none: they are still in one of the two, and the
// number in the pipe says in which. The supervisor holds both ends, and lends them to one worker after the other. Both are
// non-blocking.
type Pipe struct{ R, W int }

// NewPipe makes a pipe, which is the caller's to Close.
func NewPipe() (Pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return Pipe{-1, -1}, fmt.Errorf("make a pipe: %w", err)
	}
	return Pipe{fds[0], fds[1]}, nil
}

// Close frees both ends.
func (p Pipe) Close() {
	_ = unix.Close(p.R)
	_ = unix.Close(p.W)
}

// Waiting counts the bytes in the pipe.
func (p Pipe) Waiting() (int, error) {
	n, err := unix.IoctlGetInt(p.R, unix.TIOCINQ) // FIONREAD by another name, see pipe(7)
	if err != nil {
		return 0, fmt.Errorf("count bytes in a pipe: %w", err)
	}
	return n, nil
}

// Drop empties the pipe.
func (p Pipe) Drop() error {
	var scrap [4096]byte
	for {
		n, err := p.Read(scrap[:])
		if err != nil || n == 0 {
			return err
		}
	}
}

// Read takes bytes out; none if the pipe is empty.
func (p Pipe) Read(b []byte) (int, error) {
	return again("read from a pipe", func() (int, error) { return unix.Read(p.R, b) })
}

// Write puts bytes in, fewer than all or none if the pipe gets full.
func (p Pipe) Write(b []byte) (int, error) {
	return again("write to a pipe", func() (int, error) { return unix.Write(p.W, b) })
}

// again makes a call until no signal interrupts it. That it would block is no error and no byte.
func again(what string, call func() (int, error)) (int, error) {
	for {
		n, err := call()
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return max(n, 0), fmt.Errorf("%s: %w", what, err)
		}
	}
}

// spliceMost is how much one splice from a tty asks for: a tty gives no more than its 4 KiB buffer at once, and the kernel
// allocates as many pages as are asked for.
const spliceMost = 4096

// SpliceIn moves what the device has sent into the pipe, at least one byte; there must be room for a page. idle and errors
// are as for Read.
func (d *Device) SpliceIn(p Pipe, idle time.Duration) (int, error) {
	for {
		if err := d.await(idle); err != nil {
			return 0, err
		}
		if d.plain {
			return d.copyIn(p)
		}
		n, err := unix.Splice(d.fd, nil, p.W, nil, spliceMost, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch {
		case n > 0:
			return int(n), nil
		case err == nil:
			return 0, fmt.Errorf("%w: end of file", ErrHangup)
		case err == unix.EINVAL:
			// A tty that has hung up cannot splice, nor can any before Linux 5.11.
			if err := d.hungUp(); err != nil {
				return 0, err
			}
			d.plain = true
		case err != unix.EAGAIN && err != unix.EINTR:
			return 0, failure(err)
		}
	}
}

// SpliceOut moves n bytes that are in the pipe to the device, and returns when its driver has taken all of them, or with how
// many it has taken and why not more, as Write does.
func (d *Device) SpliceOut(p Pipe, n int) (int, error) {
	for done := 0; ; {
		if done == n {
			return done, nil
		}
		if d.plain {
			m, err := d.copyOut(p, n-done)
			return done + m, err
		}
		m, err := unix.Splice(p.R, nil, d.fd, nil, n-done, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		done += int(max(m, 0))
		switch {
		case err == nil && m > 0, err == unix.EINTR:
		case err == nil:
			return done, errors.New("the pipe to the device has fewer bytes than were put in")
		case err == unix.EAGAIN:
			if err := d.wait(unix.POLLOUT, 0); err != nil {
				return done, err
			}
		case err == unix.EINVAL:
			if err := d.hungUp(); err != nil {
				return done, err
			}
			d.plain = true
		default:
			return done, failure(err)
		}
	}
}

// hungUp returns ErrHangup if the device has.
func (d *Device) hungUp() error {
	fds := []unix.PollFd{{Fd: int32(d.fd)}}
	if _, err := unix.Poll(fds, 0); err != nil && err != unix.EINTR {
		return fmt.Errorf("look at the device: %w", err)
	}
	if fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
		return fmt.Errorf("%w: it cannot be spliced any more", ErrHangup)
	}
	return nil
}

// copyIn and copyOut are for kernels that cannot splice a tty. A worker that is killed in between takes bytes along.
func (d *Device) copyIn(p Pipe) (int, error) {
	var buffer [spliceMost]byte
	n, err := unix.Read(d.fd, buffer[:])
	switch {
	case n > 0:
		return p.Write(buffer[:n])
	case err == nil:
		return 0, fmt.Errorf("%w: end of file", ErrHangup)
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, nil
	}
	return 0, failure(err)
}

func (d *Device) copyOut(p Pipe, n int) (int, error) {
	buffer := make([]byte, n)
	n, err := p.Read(buffer)
	if err != nil {
		return 0, err
	}
	return d.Write(buffer[:n])
}
