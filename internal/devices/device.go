// Package devices finds serial devices without opening any, as each open(2) raises DTR on a line, and tells when one may
// have come.
package devices

import (
	"errors"
	"fmt"
	"strings"

	"github.com/serialvisor/serialvisor/internal/serialio"
)

// Device is a serial device that is there.
type Device struct {
	Path   string   `json:"path"`              // /dev/ttyUSB0
	ByID   []string `json:"by_id,omitempty"`   // links that name the adapter: /dev/serial/by-id/…
	ByPath []string `json:"by_path,omitempty"` // links that name the socket it is in: /dev/serial/by-path/…
	Driver string   `json:"driver"`
	USB    *USB     `json:"usb,omitempty"` // nil if it is not on the USB
}

// USB is what the device says of itself on the bus. What it does not say is empty.
type USB struct {
	VID          string `json:"vid"` // four hexadecimal digits
	PID          string `json:"pid"`
	Serial       string `json:"serial"`
	Interface    int    `json:"interface"` // bInterfaceNumber
	Product      string `json:"product"`
	Manufacturer string `json:"manufacturer"`
	Location     string `json:"location"` // of the interface on the bus: 1-1.2:1.0
}

// Identity is what a USB device is recognised by, under whatever name it turns up. Empty fields match any.
type Identity struct {
	VID, PID  string // four hexadecimal digits
	Serial    string
	Interface *int
}

// String is what a person would call it: "usb 0403:6001 serial A50285BI interface 0".
func (i Identity) String() string {
	text := "usb"
	if i.VID != "" || i.PID != "" {
		text += " " + orAny(i.VID) + ":" + orAny(i.PID)
	}
	if i.Serial != "" {
		text += " serial " + i.Serial
	}
	if i.Interface != nil {
		text += fmt.Sprintf(" interface %d", *i.Interface)
	}
	return text
}

func orAny(id string) string {
	if id == "" {
		return "any"
	}
	return id
}

func (i Identity) matches(u *USB) bool {
	same := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	return u != nil && same(i.VID, u.VID) && same(i.PID, u.PID) && (i.Serial == "" || i.Serial == u.Serial) &&
		(i.Interface == nil || *i.Interface == u.Interface)
}

// Match returns the devices that have the identity.
func (i Identity) Match(devices []Device) []Device {
	var found []Device
	for _, d := range devices {
		if i.matches(d.USB) {
			found = append(found, d)
		}
	}
	return found
}

// ErrAmbiguous says that several devices have an identity.
var ErrAmbiguous = errors.New("more than one device matches")

// Find returns the one device that has the identity. If there is none the error wraps serialio.ErrMissing and says what
// there is; if there are several it wraps ErrAmbiguous, lists them and says how to tell them apart.
func Find(i Identity) (Device, error) { return here.Find(i) }

// Find is Find in another tree.
func (t Tree) Find(i Identity) (Device, error) {
	devices, err := t.List()
	if err != nil {
		return Device{}, err
	}
	switch found := i.Match(devices); len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Device{}, fmt.Errorf("%s: %w; %s", i, serialio.ErrMissing, present(devices))
	default:
		return Device{}, fmt.Errorf("%s: %w: %s (%s)", i, ErrAmbiguous, listed(found), distinction(found))
	}
}

// present says which USB devices there are.
func present(devices []Device) string {
	if usb := (Identity{}).Match(devices); len(usb) > 0 {
		return "there are " + listed(usb)
	}
	return "there is no USB serial device"
}

func listed(devices []Device) string {
	var texts []string
	for _, d := range devices {
		number := d.USB.Interface
		id := Identity{d.USB.VID, d.USB.PID, d.USB.Serial, &number}
		texts = append(texts, d.Path+" ("+strings.TrimPrefix(id.String(), "usb ")+")")
	}
	return strings.Join(texts, ", ")
}

// distinction says what tells devices apart.
func distinction(devices []Device) string {
	serials, interfaces := map[string]bool{}, map[int]bool{}
	ids := map[string]bool{}
	for _, d := range devices {
		serials[d.USB.Serial], interfaces[d.USB.Interface], ids[d.USB.VID+d.USB.PID] = true, true, true
	}
	switch {
	case len(ids) == len(devices):
		return "add vid: and pid:"
	case len(serials) == len(devices) && !serials[""]:
		return "add serial:"
	case len(interfaces) == len(devices):
		return "add interface:"
	case len(devices[0].ByPath) > 0:
		return "they are told apart only by where they are plugged in: use device: " + devices[0].ByPath[0] + " or the like"
	}
	return "use device: with a path in /dev/serial/by-path"
}
