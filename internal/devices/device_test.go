package devices

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/serialio"
)

// tree builds a /sys and a /dev as the kernel and udev lay them out.
type tree struct {
	Tree
	t *testing.T
}

func newTree(t *testing.T) tree {
	root := t.TempDir()
	return tree{Tree{filepath.Join(root, "sys"), filepath.Join(root, "dev")}, t}
}

// file writes an attribute of a folder below /sys/devices.
func (tr tree) file(folder, name, content string) {
	tr.t.Helper()
	folder = filepath.Join(tr.Sys, "devices", folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), []byte(content+"\n"), 0o600); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) link(target, path string) {
	tr.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		tr.t.Fatal(err)
	}
}

// tty makes a tty below a device's folder, with the link from /sys/class/tty.
func (tr tree) tty(name, hardware string) {
	tr.t.Helper()
	tr.file(filepath.Join(hardware, "tty", name), "dev", "188:0")
	tr.link(filepath.Join(tr.Sys, "devices", hardware), filepath.Join(tr.Sys, "devices", hardware, "tty", name, "device"))
	tr.link(filepath.Join(tr.Sys, "devices", hardware, "tty", name), filepath.Join(tr.Sys, "class", "tty", name))
}

func (tr tree) driver(hardware, name string) {
	tr.link("/sys/bus/drivers/"+name, filepath.Join(tr.Sys, "devices", hardware, "driver"))
}

// usb makes a USB device.
func (tr tree) usb(folder, vid, pid, serial, product string) {
	for name, value := range map[string]string{"idVendor": vid, "idProduct": pid, "serial": serial, "product": product, "manufacturer": "Maker"} {
		if value != "" {
			tr.file(folder, name, value)
		}
	}
}

// adapter makes a USB serial adapter of one port, with udev's links.
func (tr tree) adapter(name, bus, vid, pid, serial string) {
	tr.t.Helper()
	device := "pci0/usb1/" + bus
	port := device + "/" + bus + ":1.0/" + name
	tr.usb(device, vid, pid, serial, "Adapter")
	tr.file(device+"/"+bus+":1.0", "bInterfaceNumber", "00")
	tr.tty(name, port)
	tr.driver(port, "ftdi_sio")
	tr.driver(device+"/"+bus+":1.0", "ftdi_sio")
	tr.driver(device, "usb")
	tr.link("../../"+name, filepath.Join(tr.Dev, "serial", "by-path", "pci-usb-"+bus))
}

// machine has one of each kind.
func machine(t *testing.T) tree {
	tr := newTree(t)
	tr.adapter("ttyUSB10", "1-1.2", "0403", "6001", "A50285BI")
	tr.adapter("ttyUSB2", "1-1.3", "1A86", "7523", "")
	tr.link("../../ttyUSB10", filepath.Join(tr.Dev, "serial", "by-id", "usb-FTDI_A50285BI-if00-port0"))
	// A composite device with two ports.
	tr.usb("pci0/usb1/1-4", "2341", "0043", "8543", "Uno")
	for name, number := range map[string]string{"ttyACM0": "00", "ttyACM1": "0a"} {
		hardware := "pci0/usb1/1-4/1-4:1." + number
		tr.file(hardware, "bInterfaceNumber", number)
		tr.tty(name, hardware)
		tr.driver(hardware, "cdc_acm")
	}
	// UARTs of the mainboard: one that is there, and one that the driver has room for.
	tr.tty("ttyS0", "pnp0/00:04/00:04:0/00:04:0.0")
	tr.file("pnp0/00:04/00:04:0/00:04:0.0/tty/ttyS0", "type", "4")
	tr.driver("pnp0/00:04/00:04:0/00:04:0.0", "port")
	tr.driver("pnp0/00:04/00:04:0", "ctrl")
	tr.driver("pnp0/00:04", "serial")
	tr.tty("ttyS1", "platform/serial8250/serial8250:0/serial8250:0.1")
	tr.file("platform/serial8250/serial8250:0/serial8250:0.1/tty/ttyS1", "type", "0")
	// No hardware at all.
	tr.file("virtual/tty/tty0", "dev", "4:0")
	tr.link(filepath.Join(tr.Sys, "devices/virtual/tty/tty0"), filepath.Join(tr.Sys, "class/tty/tty0"))
	// Unplugged while it is looked at.
	tr.link(filepath.Join(tr.Sys, "devices/gone"), filepath.Join(tr.Sys, "class/tty/ttyUSB5"))
	return tr
}

func TestList(t *testing.T) {
	tr := machine(t)
	got, err := tr.List()
	if err != nil {
		t.Fatal(err)
	}
	dev := func(path string) string { return filepath.Join(tr.Dev, path) }
	want := []Device{
		{Path: dev("ttyACM0"), Driver: "cdc_acm", USB: &USB{"2341", "0043", "8543", 0, "Uno", "Maker", "1-4:1.00"}},
		{Path: dev("ttyACM1"), Driver: "cdc_acm", USB: &USB{"2341", "0043", "8543", 10, "Uno", "Maker", "1-4:1.0a"}},
		{Path: dev("ttyS0"), Driver: "serial"},
		{
			Path: dev("ttyUSB2"), ByPath: []string{dev("serial/by-path/pci-usb-1-1.3")}, Driver: "ftdi_sio",
			USB: &USB{"1a86", "7523", "", 0, "Adapter", "Maker", "1-1.3:1.0"},
		},
		{
			Path: dev("ttyUSB10"), ByID: []string{dev("serial/by-id/usb-FTDI_A50285BI-if00-port0")}, ByPath: []string{dev("serial/by-path/pci-usb-1-1.2")},
			Driver: "ftdi_sio", USB: &USB{"0403", "6001", "A50285BI", 0, "Adapter", "Maker", "1-1.2:1.0"},
		},
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("device %d is wrong:\ngot  %+v\nwant %+v", i, got, want)
		}
	}
	if _, err := newTree(t).List(); err == nil {
		t.Error("a machine without sysfs gives no error")
	}
}

func TestFind(t *testing.T) {
	ten, zero := 10, 0
	tr := machine(t)
	for _, c := range []struct {
		id      Identity
		path    string
		problem error
		says    []string
	}{
		{Identity{Serial: "A50285BI"}, "ttyUSB10", nil, nil},
		{Identity{VID: "1A86"}, "ttyUSB2", nil, nil},
		{Identity{VID: "2341", PID: "0043", Interface: &ten}, "ttyACM1", nil, nil},
		{Identity{VID: "0403", PID: "6001", Serial: "other"}, "", serialio.ErrMissing, []string{"usb 0403:6001 serial other: no such device; there are", "ttyUSB10 (0403:6001 serial A50285BI interface 0)", "ttyACM1"}},
		{Identity{VID: "2341"}, "", ErrAmbiguous, []string{"usb 2341:any: more than one device matches", "ttyACM0", "ttyACM1 (2341:0043 serial 8543 interface 10)", "(add interface:)"}},
		{Identity{Interface: &zero}, "", ErrAmbiguous, []string{"usb interface 0", "(add vid: and pid:)"}},
	} {
		got, err := tr.Find(c.id)
		if !errors.Is(err, c.problem) || c.path != "" && got.Path != filepath.Join(tr.Dev, c.path) {
			t.Errorf("%s: %+v, %v; want %s, %v", c.id, got, err, c.path, c.problem)
		}
		for _, part := range c.says {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q in it", c.id, err, part)
			}
		}
	}
}

// Cheap adapters have no serial number, or all the same: only the socket tells two of them apart.
func TestFindTwins(t *testing.T) {
	tr := newTree(t)
	tr.adapter("ttyUSB0", "1-1", "1a86", "7523", "")
	tr.adapter("ttyUSB1", "1-2", "1a86", "7523", "")
	_, err := tr.Find(Identity{VID: "1a86", PID: "7523"})
	if !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), "use device: "+tr.Dev+"/serial/by-path/pci-usb-1-1") {
		t.Errorf("two without a serial number: %v", err)
	}
	tr = newTree(t)
	tr.adapter("ttyUSB0", "1-1", "0403", "6001", "A")
	tr.adapter("ttyUSB1", "1-2", "0403", "6001", "B")
	if _, err := tr.Find(Identity{VID: "0403"}); err == nil || !strings.Contains(err.Error(), "(add serial:)") {
		t.Errorf("two with serial numbers: %v", err)
	}
	empty := newTree(t)
	if err := os.MkdirAll(filepath.Join(empty.Sys, "class", "tty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := empty.Find(Identity{VID: "0403"}); !errors.Is(err, serialio.ErrMissing) || !strings.Contains(err.Error(), "there is no USB serial device") {
		t.Errorf("none: %v", err)
	}
}
