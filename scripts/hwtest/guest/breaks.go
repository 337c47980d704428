package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/scripts/hwtest/order"
)

var breakChecks = []check{
	{"breaks that come in are counted", checkBreaksIn},
	{"a break that is sent lasts as long as asked for", checkBreakOut},
}

// checkBreaksIn is about the 16550A alone: QEMU's adapter reports a break without the byte that a real one sends along,
// and the driver looks at it only with a byte.
func checkBreaksIn(h *host) (string, error) {
	const breaks = 3
	return fmt.Sprintf("%d on %s", breaks, uart), withGateway(bothPorts, func(g *gateway) error {
		if err := g.awaitOpen("uart"); err != nil {
			return err
		}
		for i := range breaks {
			if err := h.each(order.UART, order.Break); err != nil {
				return err
			}
			// One after the other: the chip shows whether there was one, and not how many.
			err := g.await("uart", "counts a break", func(s ipc.PortStatus) bool { return s.LineErrors.Break == uint64(i+1) })
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// What a driver does to begin and end a break: bit 6 of a 16550A's line control register, bit 14 of an FTDI's SET_DATA
// (request 4 to the device, 0x4004).
var (
	lineControl = regexp.MustCompile(`@(\d+\.\d+):serial_write .*addr 0x03 val 0x([0-9a-f]+)`)
	setData     = regexp.MustCompile(`@(\d+\.\d+):usb_serial_handle_control .*control 0x4004, value 0x([0-9a-f]+)`)
)

func checkBreakOut(h *host) (string, error) {
	figure := ""
	err := withGateway(bothPorts, func(g *gateway) error {
		if err := g.awaitOpen("uart", "ftdi"); err != nil {
			return err
		}
		for _, p := range bothPorts {
			if err := h.startTrace(); err != nil {
				return err
			}
			out, err := exec.Command(program, "control", p.name, "break=250ms", "--state-dir", filepath.Join(g.dir, "state")).CombinedOutput()
			events, traceErr := h.endTrace()
			if err = errors.Join(err, traceErr); err != nil {
				return fmt.Errorf("supervisor control %s break=250ms: %w: %s", p.name, err, out)
			}
			pattern, bit := lineControl, uint64(1<<6)
			if p.device == ftdi {
				pattern, bit = setData, 1<<14
			}
			lasted, err := highFor(events, pattern, bit)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if lasted < 0.24 || lasted > 0.5 {
				return fmt.Errorf("%s: the break lasted %.3f s, want 0.25", p.name, lasted)
			}
			figure += fmt.Sprintf("%s %.0f ms ", p.name, 1000*lasted)
		}
		return nil
	})
	return figure, err
}

// highFor is how many seconds a bit was set that was set and cleared once.
func highFor(events []string, pattern *regexp.Regexp, bit uint64) (float64, error) {
	begin, end := 0.0, 0.0
	for _, event := range events {
		m := pattern.FindStringSubmatch(event)
		if m == nil {
			continue
		}
		at, _ := strconv.ParseFloat(m[1], 64)
		value, _ := strconv.ParseUint(m[2], 16, 64)
		switch {
		case value&bit != 0 && begin == 0:
			begin = at
		case value&bit == 0 && begin != 0 && end == 0:
			end = at
		}
	}
	if end == 0 {
		return 0, fmt.Errorf("no break was begun and ended:\n%s", strings.Join(events, "\n"))
	}
	return end - begin, nil
}
