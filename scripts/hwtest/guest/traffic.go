package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/scripts/hwtest/order"
)

var trafficChecks = []check{{"every byte goes out and comes in as it is, on each device", checkBytes}}

// gadget is the other end of ttyACM0.
const gadget = "/dev/ttyGS0"

// checkBytes sends a frame of all bytes but the delimiter, which the other end returns.
func checkBytes(h *host) (string, error) {
	var all []byte
	for b := range 256 {
		if b != '\n' {
			all = append(all, byte(b))
		}
	}
	const rounds = 20
	return fmt.Sprintf("%d times all %d but the delimiter", rounds, len(all)), withGateway(allPorts, func(g *gateway) error {
		if err := g.awaitOpen("uart", "ftdi", "acm"); err != nil {
			return err
		}
		for _, end := range ends {
			if err := h.each(end, order.Echo); err != nil {
				return err
			}
		}
		stop, err := echoGadget()
		if err != nil {
			return err
		}
		defer stop()
		for _, p := range allPorts {
			in, err := g.receive(p.name)
			if err != nil {
				return err
			}
			for range rounds {
				if err := g.queue(p.name, string(all)); err != nil {
					return err
				}
			}
			err = until("the frames come back", func() bool {
				frames, _ := in.frames()
				return len(frames) >= rounds
			})
			frames, _ := in.frames()
			for _, frame := range frames {
				if frame != string(all) {
					return fmt.Errorf("%s: %q came back of %q", p.name, frame, all)
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		return nil
	})
}

// echoGadget has the gadget send back what it receives, until stop.
func echoGadget() (stop func(), err error) {
	f, err := os.OpenFile(gadget, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err == nil {
		ctlErr := raw.Control(func(fd uintptr) {
			var t *unix.Termios
			if t, err = unix.IoctlGetTermios(int(fd), unix.TCGETS); err != nil {
				return
			}
			t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
			t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
			err = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
		})
		if err == nil {
			err = ctlErr
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("make %s raw: %w", gadget, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(struct{ io.Writer }{f}, struct{ io.Reader }{f}) // until the deadline
	}()
	return func() {
		_ = f.SetDeadline(time.Now())
		<-ended
		_ = f.Close()
	}, nil
}
