package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// check opens ports with a setting, and looks at what the drivers have made of it, and the chips.
func (s setting) check(h *host) (string, error) {
	if err := h.startTrace(); err != nil {
		return "", err
	}
	var figures []string
	err := withGateway(s.ports(), func(g *gateway) error {
		for _, p := range s.ports() {
			err := g.await(p.name, "was tried", func(s ipc.PortStatus) bool { return s.State != ipc.Closed })
			if err != nil {
				return err
			}
		}
		events, err := h.endTrace()
		if err != nil {
			return err
		}
		var wrong []error
		for _, p := range s.ports() {
			figure, err := s.look(g, p, events)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", p.name, err))
			}
			figures = append(figures, p.name+" "+figure)
		}
		return errors.Join(wrong...)
	})
	return strings.Join(figures, ", "), err
}

// look compares one port with what is wanted.
func (s setting) look(g *gateway, p port, events []string) (string, error) {
	status, err := g.port(p.name)
	if err != nil {
		return "", err
	}
	want := s.want[p.device]
	chip := chipNotation(p.device, events)
	if pattern, ok := strings.CutPrefix(want, "failed: "); ok {
		if status.State != ipc.Failed || !regexp.MustCompile(pattern).MatchString(status.Error) {
			return "", fmt.Errorf("is %s %q, want failed with /%s/; the chip has %s", status.State, status.Error, pattern, chip)
		}
		return "failed as it must: " + status.Error, nil
	}
	if status.State != ipc.Open {
		return "", fmt.Errorf("is %s %q, want open", status.State, status.Error)
	}
	if pattern := s.chip[p.device]; pattern != "" {
		if !regexp.MustCompile(pattern).MatchString(strings.Join(events, "\n")) {
			return "", fmt.Errorf("/%s/ was not done to the chip:\n%s", pattern, strings.Join(events, "\n"))
		}
	} else if p.device != acm && !sameLine(chip, want) {
		return "", fmt.Errorf("the chip has %s, want %s", chip, want)
	}
	err = g.withLine(p.device, func(l *line) error {
		t, err := l.termios()
		if err != nil {
			return err
		}
		if got := notation(t); got != want {
			return fmt.Errorf("the driver has %s, want %s", got, want)
		}
		if raw := t.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) | t.Oflag&unix.OPOST | t.Iflag&(unix.ICRNL|unix.INLCR|unix.ISTRIP); raw != 0 {
			return fmt.Errorf("it is not raw: iflag %#x oflag %#x lflag %#x", t.Iflag, t.Oflag, t.Lflag)
		}
		if s.also != nil {
			return s.also(p.device, l)
		}
		return nil
	})
	return want, err
}

// What QEMU logs when a driver sets a chip.
var (
	uartSet = regexp.MustCompile(`serial_update_parameters baudrate=(\d+) parity='(.)' data=(\d) stop=(\d)`)
	ftdiSet = regexp.MustCompile(`usb_serial_set_data dev [\d:]+ parity (.), data bits (\d), stop bits (\d)`)
	ftdiBPS = regexp.MustCompile(`usb_serial_set_baud dev [\d:]+ baud rate (\d+)`)
)

// chipNotation is what the kernel set an emulated chip to in the end. The gadget has none.
func chipNotation(device string, events []string) string {
	log := strings.Join(events, "\n")
	last := func(r *regexp.Regexp) []string {
		found := r.FindAllStringSubmatch(log, -1)
		if len(found) == 0 {
			return make([]string, r.NumSubexp()+1)
		}
		return found[len(found)-1]
	}
	switch device {
	case uart:
		m := last(uartSet)
		return fmt.Sprintf("%s %s%s%s", m[1], m[3], m[2], m[4])
	case ftdi:
		rate, m := last(ftdiBPS), last(ftdiSet)
		return fmt.Sprintf("%s %s%s%s", rate[1], m[2], m[1], m[3])
	}
	return "nothing to show"
}

// sameLine says whether a chip can talk to a line with the wanted settings: to 2 % a rate is the same.
func sameLine(chip, want string) bool {
	have, asked := strings.Fields(chip), strings.Fields(want)
	rate, err := strconv.ParseFloat(have[0], 64)
	wanted, _ := strconv.ParseFloat(asked[0], 64)
	return err == nil && math.Abs(rate/wanted-1) < 0.02 && have[1] == asked[1]
}

// modemLines wants DTR and RTS to be so after the open.
func modemLines(want int) func(string, *line) error {
	return func(_ string, l *line) error {
		got, err := l.modem()
		if err == nil && got&(unix.TIOCM_DTR|unix.TIOCM_RTS) != want {
			err = fmt.Errorf("TIOCMGET is %#x, want DTR and RTS as in %#x", got, want)
		}
		return err
	}
}

// controlCharacters are part of xonxoff: DC1 and DC3, see ascii(7).
func controlCharacters(_ string, l *line) error {
	t, err := l.termios()
	if err == nil && (t.Cc[unix.VSTART] != 0x11 || t.Cc[unix.VSTOP] != 0x13) {
		err = fmt.Errorf("VSTART is %#x and VSTOP %#x, want 0x11 and 0x13", t.Cc[unix.VSTART], t.Cc[unix.VSTOP])
	}
	return err
}

// latencyTimer is how long an FTDI adapter collects bytes, 16 ms if nobody says otherwise.
func latencyTimer(device string, _ *line) error {
	if device != ftdi {
		return nil
	}
	value, err := os.ReadFile("/sys/bus/usb-serial/devices/" + filepath.Base(device) + "/latency_timer")
	if err == nil && strings.TrimSpace(string(value)) != "1" {
		err = fmt.Errorf("latency_timer is %s ms, want 1", strings.TrimSpace(string(value)))
	}
	return err
}

var usbPort = port{name: "ftdi", keys: []string{`usb: {vid: "0403", pid: "6001"}`}}

func checkUSB(*host) (string, error) {
	return "opened " + ftdi, withGateway([]port{usbPort}, func(g *gateway) error {
		if err := g.awaitOpen("ftdi"); err != nil {
			return err
		}
		return g.withLine(ftdi, func(*line) error { return nil })
	})
}

// checkListing has devices listed, beside a port that is open: others that list open each device for it.
func checkListing(h *host) (string, error) {
	return "all are listed, no chip was touched", withGateway([]port{{"uart", uart, []string{"baud: 9600", "parity: even"}}}, func(g *gateway) error {
		if err := g.awaitOpen("uart"); err != nil {
			return err
		}
		if err := h.startTrace(); err != nil {
			return err
		}
		out, err := exec.Command(program, "ports", "--json").Output()
		events, traceErr := h.endTrace()
		if err = errors.Join(err, traceErr); err != nil {
			return fmt.Errorf("supervisor ports: %w", err)
		}
		for _, device := range devices {
			if !strings.Contains(string(out), device) {
				return fmt.Errorf("%s is not in the list:\n%s", device, out)
			}
		}
		if len(events) > 0 {
			return fmt.Errorf("it did something to a chip:\n%s", strings.Join(events, "\n"))
		}
		return nil
	})
}
