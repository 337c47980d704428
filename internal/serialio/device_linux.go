package serialio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Device is a worker's end of a port: one borrowed descriptor. Only one goroutine reads and one writes. Interrupt, from
// any goroutine, ends calls that wait.
type Device struct {
	file        *os.File
	interrupted atomic.Bool // set before the deadline that ends waiting calls, which Read may overwrite
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
	return &Device{file: os.NewFile(fd, "device")}, nil
}

// ErrInterrupted ends a Read or Write after Interrupt.
var ErrInterrupted = errors.New("interrupted")

// ErrIdle ends a Read in which nothing came for as long as was asked.
var ErrIdle = errors.New("nothing received")

// Read takes what the device has sent, at least one byte. With idle > 0 it returns ErrIdle after so long without any;
// else it waits for ever. Errors: ErrHangup, ErrIdle, ErrInterrupted, or the kernel's.
func (d *Device) Read(p []byte, idle time.Duration) (int, error) {
	if idle > 0 {
		if err := d.file.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return 0, err
		}
		defer func() { _ = d.file.SetReadDeadline(time.Time{}) }()
	}
	if d.interrupted.Load() {
		return 0, ErrInterrupted
	}
	n, err := d.file.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && idle > 0 && !d.interrupted.Load() {
		return n, ErrIdle
	}
	return n, d.result(err)
}

// Write returns when the kernel has taken all of p, or with how much it took and why not more: ErrHangup,
// ErrInterrupted, or the kernel's error.
func (d *Device) Write(p []byte) (int, error) {
	n, err := d.file.Write(p)
	return n, d.result(err)
}

// Interrupt makes waiting and all further calls return ErrInterrupted.
func (d *Device) Interrupt() {
	d.interrupted.Store(true)
	_ = d.file.SetDeadline(time.Unix(1, 0))
}

// Close gives the descriptor back; the device stays open in the supervisor.
func (d *Device) Close() error { return d.file.Close() }

// result gives the many ways in which a tty says that it is gone one name: a read gives end of file or EIO, a write EIO.
func (d *Device) result(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrInterrupted
	case errors.Is(err, io.EOF), errors.Is(err, unix.EIO), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: %w", ErrHangup, err)
	}
	return err
}
