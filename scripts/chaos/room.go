package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// room measures how many bytes a pseudo-terminal holds that nobody reads, in either direction. As many can be lost when it
// is unplugged.
func room() (int, error) {
	most := 0
	for _, write := range []func(*simulator.Pty, []byte) (int, error){(*simulator.Pty).Write, writeToDevice} {
		pty, err := simulator.Open()
		if err != nil {
			return 0, err
		}
		if err := pty.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			return 0, err
		}
		n, err := write(pty, make([]byte, 1<<20))
		_ = pty.Close()
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.EAGAIN) {
			return 0, fmt.Errorf("measure a pseudo-terminal: %d bytes, %w", n, err)
		}
		most = max(most, n)
	}
	return most, nil
}

// writeToDevice fills the direction to the device.
func writeToDevice(p *simulator.Pty, b []byte) (n int, err error) {
	fd, err := unix.Open(p.Path(), unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		m, err := unix.Write(fd, b[n:])
		if err != nil {
			return n, err
		}
		n += m
	}
}
