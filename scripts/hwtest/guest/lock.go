package main

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

var lockChecks = []check{
	{"a second supervisor, of root too, finds the device busy", checkBusy},
	{"a second supervisor leaves DTR alone", checkBusyDTR},
}

var bothPorts = []port{{"uart", uart, []string{"baud: 9600", "parity: even"}}, {"ftdi", ftdi, []string{"baud: 9600", "parity: even"}}}

// withRival runs a supervisor, and then a second one that wants the same devices with other settings.
func withRival(use func(first *gateway) error, meanwhile func(first, second *gateway) error) error {
	return withGateway(bothPorts, func(first *gateway) error {
		if err := first.awaitOpen("uart", "ftdi"); err != nil {
			return err
		}
		if err := use(first); err != nil {
			return err
		}
		rival := []port{{"uart", uart, []string{"baud: 19200"}}, {"ftdi", ftdi, []string{"baud: 19200"}}}
		return withGateway(rival, func(second *gateway) error {
			for _, p := range rival {
				if err := second.await(p.name, "was tried", func(s ipc.PortStatus) bool { return s.State != ipc.Closed }); err != nil {
					return err
				}
			}
			return meanwhile(first, second)
		})
	})
}

func checkBusy(*host) (string, error) {
	figure := ""
	err := withRival(func(*gateway) error { return nil }, func(first, second *gateway) error {
		for _, p := range bothPorts {
			status, err := second.port(p.name)
			if err != nil {
				return err
			}
			if holder := fmt.Sprintf("pid %d", first.pid()); status.State != ipc.Busy || !strings.Contains(status.Error, holder) {
				return fmt.Errorf("%s is %s %q, want busy and %q", p.name, status.State, status.Error, holder)
			}
			figure = status.Error
			err = first.withLine(p.device, func(l *line) error {
				t, err := l.termios()
				if err != nil {
					return err
				}
				if got := notation(t); got != "9600 8E1" {
					return fmt.Errorf("%s: the second supervisor set %s", p.device, got)
				}
				if on, err := l.exclusive(); err != nil || !on {
					return fmt.Errorf("%s: TIOCGEXCL says %t, %v", p.device, on, err)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return first.awaitOpen("uart", "ftdi")
	})
	return figure + "; TIOCEXCL is set, settings stay", err
}

// checkBusyDTR lowers DTR on a device of the first supervisor, and looks whether attempts of the second raise it: many
// a board takes that for a reset.
func checkBusyDTR(*host) (string, error) {
	return "it stays low on both", withRival(func(first *gateway) error {
		for _, p := range bothPorts {
			if err := first.withLine(p.device, func(l *line) error { return l.clear(unix.TIOCM_DTR) }); err != nil {
				return err
			}
		}
		return nil
	}, func(first, _ *gateway) error {
		<-time.After(1500 * time.Millisecond) // in which it tries again at least once
		var raised []string
		for _, p := range bothPorts {
			err := first.withLine(p.device, func(l *line) error {
				lines, err := l.modem()
				if lines&unix.TIOCM_DTR != 0 {
					raised = append(raised, p.device)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		if len(raised) > 0 {
			return fmt.Errorf("DTR was raised on %s", strings.Join(raised, ", "))
		}
		return nil
	})
}
