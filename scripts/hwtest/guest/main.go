// Command guest is what the guest of the hardware tests runs: it makes the checks, with the supervisor, reader and
// writer that lie beside it, and tells the host how they went.
package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/serialvisor/serialvisor/scripts/hwtest/order"
)

// check is one thing that must hold. run returns the figures, or why it does not hold.
type check struct {
	name string
	run  func(*host) (string, error)
}

// The devices under test. The gadget's end of ttyACM0 is ttyGS0, in this machine.
const (
	uart = "/dev/ttyS1"
	ftdi = "/dev/ttyUSB0"
	acm  = "/dev/ttyACM0"
)

var devices = []string{uart, ftdi, acm}

// patience is how long anything may take that takes milliseconds on an idle machine.
const patience = 30 * time.Second

func main() {
	if err := checkAll(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func checkAll() error {
	h, err := callHost()
	if err != nil {
		return err
	}
	only, err := wanted()
	if err != nil {
		return err
	}
	for _, device := range devices {
		if err := until("the kernel has "+device, func() bool { _, err := os.Stat(device); return err == nil }); err != nil {
			return err
		}
	}
	var checks []check
	for _, group := range [][]check{settingsChecks(), trafficChecks, lockChecks, killChecks, breakChecks, plugChecks, drainChecks} {
		checks = append(checks, group...)
	}
	for _, c := range checks {
		if !only.MatchString(c.name) {
			continue
		}
		if _, err := h.do(order.Order{Do: order.Reset}); err != nil {
			return err
		}
		if _, err := h.do(c.outcome(h)); err != nil {
			return err
		}
	}
	_, err = h.do(order.Order{Do: order.End})
	return err
}

// outcome makes a check.
func (c check) outcome(h *host) order.Order {
	o := order.Order{Do: order.Report, Check: c.name, Verdict: order.Passed}
	begun := time.Now()
	text, err := c.run(h)
	if err != nil {
		o.Verdict, text = order.Failed, err.Error()
	}
	o.Text = strings.TrimSpace(text) + fmt.Sprintf(" (%.1f s)", time.Since(begun).Seconds())
	return o
}

// wanted is the pattern on the kernel's command line.
func wanted() (*regexp.Regexp, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	pattern := ""
	for _, word := range strings.Fields(string(line)) {
		if p, ok := strings.CutPrefix(word, "hwtest.only="); ok {
			pattern = p
		}
	}
	return regexp.Compile(pattern)
}

// until waits for a condition.
func until(what string, met func() bool) error { return within(patience, what, met) }

func within(limit time.Duration, what string, met func() bool) error {
	for deadline := time.Now().Add(limit); !met(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: not met: %s", limit, what)
		}
	}
	return nil
}
