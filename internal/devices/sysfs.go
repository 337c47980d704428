package devices

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Tree is where the kernel and udev show devices: usually /sys and /dev.
type Tree struct{ Sys, Dev string }

var here = Tree{Sys: "/sys", Dev: "/dev"}

// List returns the serial devices that are there, by name. Pseudo-terminals, virtual consoles and ttyS ports without
// hardware are none.
func List() ([]Device, error) { return here.List() }

// List is List in another tree.
//
// It reads sysfs alone:
//
//	class/tty/ttyUSB0/device -> …/usb1/1-1/1-1:1.0/ttyUSB0    the port, below the interface, below the device
//	class/tty/ttyACM0/device -> …/usb1/1-2/1-2:1.0            the interface, below the device
//	class/tty/ttyS0/device   -> …/pnp0/00:04/00:04:0/00:04:0.0
//
// A device that is unplugged meanwhile is not there.
func (t Tree) List() ([]Device, error) {
	class := filepath.Join(t.Sys, "class", "tty")
	entries, err := os.ReadDir(class)
	if err != nil {
		return nil, fmt.Errorf("list serial devices: %w", err)
	}
	byID, byPath := t.links("by-id"), t.links("by-path")
	var devices []Device
	for _, e := range entries {
		hardware, err := filepath.EvalSymlinks(filepath.Join(class, e.Name(), "device"))
		if err != nil || attribute(filepath.Join(class, e.Name()), "type") == "0" {
			continue
		}
		d := Device{Path: filepath.Join(t.Dev, e.Name())}
		d.ByID, d.ByPath = byID[d.Path], byPath[d.Path]
		d.Driver, d.USB = t.climb(hardware)
		devices = append(devices, d)
	}
	slices.SortFunc(devices, func(a, b Device) int {
		nameA, numberA := numbered(a.Path)
		nameB, numberB := numbered(b.Path)
		return cmp.Or(cmp.Compare(nameA, nameB), cmp.Compare(numberA, numberB))
	})
	return devices, nil
}

// climb looks from a device's folder upwards for its driver and what it is on the USB.
func (t Tree) climb(folder string) (driver string, usb *USB) {
	top, err := filepath.EvalSymlinks(t.Sys)
	if err != nil {
		top = t.Sys
	}
	var u USB
	for ; len(folder) > len(top); folder = filepath.Dir(folder) {
		// "port" and "ctrl" are the bus of serial ports that the kernel puts between a driver and its ttys.
		if link, err := os.Readlink(filepath.Join(folder, "driver")); err == nil && driver == "" {
			if name := filepath.Base(link); name != "port" && name != "ctrl" {
				driver = name
			}
		}
		if number := attribute(folder, "bInterfaceNumber"); number != "" {
			n, _ := strconv.ParseUint(number, 16, 8)
			u.Interface, u.Location = int(n), filepath.Base(folder)
		}
		if vid := attribute(folder, "idVendor"); vid != "" {
			u.VID, u.PID = strings.ToLower(vid), strings.ToLower(attribute(folder, "idProduct"))
			u.Serial, u.Product, u.Manufacturer = attribute(folder, "serial"), attribute(folder, "product"), attribute(folder, "manufacturer")
			return driver, &u
		}
	}
	return driver, nil
}

// links reads a folder of udev's links: from a device's path to the paths of its links.
func (t Tree) links(kind string) map[string][]string {
	links := map[string][]string{}
	folder := filepath.Join(t.Dev, "serial", kind)
	entries, _ := os.ReadDir(folder) // it is not there while there is no link
	for _, e := range entries {
		link := filepath.Join(folder, e.Name())
		if target, err := os.Readlink(link); err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(folder, target)
			}
			links[target] = append(links[target], link)
		}
	}
	return links
}

// attribute is the text of a file in sysfs, empty if it is not there.
func attribute(folder, name string) string {
	text, _ := os.ReadFile(filepath.Join(folder, name))
	return strings.TrimSpace(string(text))
}

// numbered takes ttyUSB10 apart, so that it comes behind ttyUSB9.
func numbered(path string) (name string, number int) {
	name = strings.TrimRight(path, "0123456789")
	number, _ = strconv.Atoi(path[len(name):])
	return name, number
}
