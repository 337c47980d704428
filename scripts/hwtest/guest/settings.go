package main

import (
	"golang.org/x/sys/unix"
)

// setting is a set of keys of a port and what must come of it on each device.
type setting struct {
	name string
	keys []string
	// want is by device: what the driver must have in the end, as notation has it; or failed, a colon and a pattern of
	// the port's error. A device that is not there is not tried.
	want map[string]string
	// chip is by device a pattern of what the kernel must have done to the chip, where it is not to have set want.
	chip map[string]string
	// also looks at a port that is open.
	also func(device string, l *line) error
}

// portOf names the port on a device.
var portOf = map[string]string{uart: "uart", ftdi: "ftdi", acm: "acm"}

// all wants the same of all devices.
func all(notation string) map[string]string {
	return map[string]string{uart: notation, ftdi: notation, acm: notation}
}

// settings must hold on every open.
var settings = []setting{
	{name: "the default", want: all("115200 8N1")},
	{name: "9600 8N1", keys: []string{"baud: 9600"}, want: all("9600 8N1")},
	{name: "9600 7E1", keys: []string{"baud: 9600", "data_bits: 7", "parity: even"}, want: all("9600 7E1")},
	{name: "9600 8O2", keys: []string{"baud: 9600", "parity: odd", "stop_bits: 2"}, want: all("9600 8O2")},
	{name: "19200 8N1", keys: []string{"baud: 19200"}, want: all("19200 8N1")},
	{
		name: "230400 baud, too many for a 16550A", keys: []string{"baud: 230400"},
		want: map[string]string{uart: "failed: instead of 230400 8N1", ftdi: "230400 8N1", acm: "230400 8N1"},
	},
	{
		name: "250000 baud, too many for a 16550A", keys: []string{"baud: 250000"},
		want: map[string]string{uart: "failed: instead of 250000 8N1", ftdi: "250000 8N1", acm: "250000 8N1"},
	},
	{
		// The nearest divisor of 115200 makes it 28800, while termios says 31250.
		name: "31250 baud, which a 16550A cannot do", keys: []string{"baud: 31250"},
		want: map[string]string{uart: "failed: it set 28800 8N1 instead of 31250 8N1", ftdi: "31250 8N1", acm: "31250 8N1"},
	},
	{
		name: "mark parity", keys: []string{"baud: 9600", "parity: mark"}, want: all("9600 8M1"),
		chip: map[string]string{uart: `serial_write .*addr 0x03 val 0x2b`, ftdi: `handle_control .*value 0x0?308`},
	},
	{
		name: "space parity", keys: []string{"baud: 9600", "parity: space"}, want: all("9600 8S1"),
		chip: map[string]string{uart: `serial_write .*addr 0x03 val 0x3b`, ftdi: `handle_control .*value 0x0?408`},
	},
	{
		// Not on the adapter: it has 7 or 8 data bits, and its driver says nothing of that.
		name: "1.5 stop bits", keys: []string{"baud: 9600", "data_bits: 5", "stop_bits: 1.5"},
		want: map[string]string{uart: "9600 5N1.5", acm: "9600 5N1.5"},
		chip: map[string]string{uart: `serial_write .*addr 0x03 val 0x[01]4`},
	},
	{
		name: "rtscts", keys: []string{"flow_control: rtscts"},
		want: map[string]string{uart: "115200 8N1 rtscts", ftdi: "115200 8N1 rtscts"},
	},
	{name: "xonxoff", keys: []string{"flow_control: xonxoff"}, want: all("115200 8N1 xonxoff"), also: controlCharacters},
	{name: "dtr and rts on", keys: []string{"dtr: on", "rts: on"}, want: all("115200 8N1"), also: modemLines(unix.TIOCM_DTR | unix.TIOCM_RTS)},
	{name: "dtr off", keys: []string{"dtr: off"}, want: all("115200 8N1"), also: modemLines(unix.TIOCM_RTS)},
	{name: "rts off", keys: []string{"rts: off"}, want: all("115200 8N1"), also: modemLines(unix.TIOCM_DTR)},
	{
		name: "low_latency", keys: []string{"low_latency: true"}, also: latencyTimer,
		want: map[string]string{uart: "115200 8N1", ftdi: "115200 8N1"},
	},
	{
		name: "rs485, which neither driver can do", keys: []string{"rs485: {enabled: true, rts_on_send: true}"},
		want: map[string]string{uart: "failed: (?i)rs-?485", ftdi: "failed: (?i)rs-?485"},
	},
}

// settingsChecks makes a check of each row.
func settingsChecks() []check {
	var list []check
	for _, s := range settings {
		list = append(list, check{"line settings: " + s.name, s.check})
	}
	return append(list,
		check{"a port named by its USB ids", checkUSB},
		check{"listing devices leaves an open port alone", checkListing},
	)
}

func (s setting) ports() []port {
	var ports []port
	for _, device := range devices {
		if s.want[device] != "" {
			ports = append(ports, port{portOf[device], device, s.keys})
		}
	}
	return ports
}
