package main

import (
	"slices"
	"strconv"
	"strings"
	"sync"
)

// traced are QEMU's trace events of what a driver does to the chips, and last one of the monitor: turned off last, it
// shows that the log is complete. serial_ is any 8250, console included.
var traced = []string{
	"serial_write", "serial_update_parameters", "usb_serial_handle_control", "usb_serial_set_baud", "usb_serial_set_data",
	"usb_serial_unsupported_parity", "usb_serial_unsupported_stopbits", "usb_serial_unsupported_data_bits", marker,
}

const marker = "monitor_qmp_cmd_in_band"

// trace keeps the events that the guest wants to know of. With -msg timestamp=on QEMU logs
//
//	4711@1700000000.123456:serial_write write addr 0x04 val 0x0b
type trace struct {
	mu       sync.Mutex // guards all below
	events   []string
	command  int // id of the last command to the monitor that was logged
	commands *sync.Cond
}

func newTrace() *trace {
	t := &trace{}
	t.commands = sync.NewCond(&t.mu)
	return t
}

// note takes a line of QEMU's log, and says whether it was a traced event.
func (t *trace) note(line string) bool {
	_, event, _ := strings.Cut(line, ":")
	name, what, _ := strings.Cut(event, " ")
	if !slices.Contains(traced, name) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case name == marker:
		t.command, _ = strconv.Atoi(what)
		t.commands.Broadcast()
	case name == "serial_write" && !strings.Contains(what, "addr 0x03") && !strings.Contains(what, "addr 0x04"):
		// Of an 8250 only line control (3) and modem control (4) matter; the rest is data.
	case name == "usb_serial_handle_control" && strings.Contains(what, "control 0xc005"):
		// The modem lines are asked for, which `supervisor status` shows.
	default:
		t.events = append(t.events, line)
	}
	return true
}

// take returns the events until a command to the monitor was logged, and forgets them.
func (t *trace) take(command int) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.command < command {
		t.commands.Wait()
	}
	events := t.events
	t.events = nil
	return events
}
