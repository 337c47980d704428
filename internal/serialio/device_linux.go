package serialio

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Device is a worker's end of a port: one borrowed descriptor, and an eventfd that ends calls that wait. Only one
// goroutine reads and one writes; Interrupt may be called from any.
//
// Calls wait in poll(2) for the one direction they need. Go's own poller watches for both, and would wake a writer for
// every byte that a device sends.
type Device struct {
	fd, interrupt int
	delays        *delays // nil: how long the reading thread waits for a processor does not matter
	plain         bool    // the kernel cannot splice a tty
}

// Borrow takes over a descriptor that the supervisor has handed down, which must be non-blocking.
func Borrow(fd uintptr) (*Device, error) {
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d of the device: %w", fd, err)
	}
	if flags&unix.O_NONBLOCK == 0 {
		return nil, fmt.Errorf("descriptor %d of the device is blocking", fd)
	}
	interrupt, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	return &Device{fd: int(fd), interrupt: interrupt}, nil
}

// ErrInterrupted ends a Read or Write after Interrupt.
var ErrInterrupted = errors.New("interrupted")

// ErrIdle ends a Read in which nothing came for as long as was asked.
var ErrIdle = errors.New("nothing received")

// Read takes what the device has sent, at least one byte. With idle > 0 it returns ErrIdle after so long without any;
// else it waits for ever. Errors: ErrHangup, ErrIdle, ErrInterrupted, or the kernel's.
func (d *Device) Read(p []byte, idle time.Duration) (int, error) {
	for {
		if err := d.await(idle); err != nil {
			return 0, err
		}
		n, err := unix.Read(d.fd, p)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, fmt.Errorf("%w: end of file", ErrHangup)
		case err != unix.EAGAIN && err != unix.EINTR:
			return 0, failure(err)
		}
	}
}

// Write returns when the kernel has taken all of p, or with how much it took and why not more: ErrHangup,
// ErrInterrupted, or the kernel's error.
func (d *Device) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := unix.Write(d.fd, p[written:])
		written += max(n, 0)
		switch err {
		case nil, unix.EINTR:
		case unix.EAGAIN:
			if err := d.wait(unix.POLLOUT, 0); err != nil {
				return written, err
			}
		default:
			return written, failure(err)
		}
	}
	return written, nil
}

// LineTime is how long n bytes take on the line with the settings that it has now: start, data, parity and stop bits.
func (d *Device) LineTime(n int) (time.Duration, error) {
	t, err := unix.IoctlGetTermios(d.fd, unix.TCGETS2)
	if err != nil {
		return 0, fmt.Errorf("read line settings: %w", failure(err))
	}
	s := decodeLine(t)
	halves := 2 * (1 + s.DataBits) // in half bits, for 1.5 stop bits
	if s.Parity != ParityNone {
		halves += 2
	}
	halves += map[string]int{StopOne: 2, StopOneAndHalf: 3, StopTwo: 4}[s.StopBits]
	return time.Duration(n) * time.Duration(halves) * time.Second / time.Duration(2*max(s.Baud, 1)), nil
}

// Unread is how many bytes the device has sent that nobody has read yet.
func (d *Device) Unread() (int, error) {
	n, err := unix.IoctlGetInt(d.fd, unix.TIOCINQ)
	if err != nil {
		return 0, fmt.Errorf("count bytes that are not read: %w", failure(err))
	}
	return n, nil
}

// wait returns when the device is ready for events or has hung up.
func (d *Device) wait(events int16, idle time.Duration) error {
	var timeout *unix.Timespec
	if idle > 0 {
		t := unix.NsecToTimespec(idle.Nanoseconds())
		timeout = &t
	}
	for {
		fds := [...]unix.PollFd{{Fd: int32(d.fd), Events: events}, {Fd: int32(d.interrupt), Events: unix.POLLIN}}
		n, err := unix.Ppoll(fds[:], timeout, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("wait for the device: %w", err)
		case n == 0:
			return ErrIdle
		case fds[1].Revents != 0:
			return ErrInterrupted
		default:
			return nil
		}
	}
}

// Interrupt makes waiting calls, and all further ones that have to wait, return ErrInterrupted.
func (d *Device) Interrupt() {
	_, _ = unix.Write(d.interrupt, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only at 2⁶⁴ interrupts
}

// Close gives the descriptor back; the device stays open in the supervisor. No call may be under way. The eventfd lives
// on: an Interrupt that comes late must not hit another file.
func (d *Device) Close() error {
	if d.delays != nil {
		_ = unix.Close(d.delays.fd)
	}
	return unix.Close(d.fd)
}

// failure gives the many ways in which a tty says that it is gone one name.
func failure(err error) error {
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: %w", ErrHangup, err)
	}
	return err
}
