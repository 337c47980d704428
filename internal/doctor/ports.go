package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/devices"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// ports looks at the device of each configured port.
func (x *examination) ports() {
	if x.Config == nil {
		if len(x.devices) == 0 {
			x.note(Warn, x.missingRemedy(), "there are no serial devices")
		}
		for _, d := range x.devices {
			x.device("", d.Path)
		}
		return
	}
	for _, p := range x.Config.Ports {
		path, err := x.locate(p)
		r := x.running(p.Name)
		switch {
		case r != nil && r.State == ipc.Open:
			if pid, program := serialio.OtherHolder(r.Device, x.Running.PID); pid != 0 {
				x.note(Warn, busyRemedy(program), "port %s: the running supervisor has it open, but %s (pid %d) has it open too and takes some of the bytes", p.Name, program, pid)
				continue
			}
			x.note(OK, "", "port %s: the running supervisor has it open", p.Name)
		case r != nil && r.State == ipc.Closed:
			x.note(OK, "", "port %s: the running supervisor is about to open it, or to close it", p.Name)
		case r != nil && r.State == ipc.Failed: // it knows more than can be seen from outside
			x.note(Fail, "", "port %s: %s", p.Name, r.Error)
		case errors.Is(err, devices.ErrAmbiguous):
			x.note(Fail, "", "port %s: %v", p.Name, err)
		case err != nil:
			x.note(Fail, x.missingRemedy(), "port %s: %v", p.Name, err)
		default:
			x.device("port "+p.Name+": ", path)
		}
	}
}

// workers looks for the programs of the user's own workers.
func (x *examination) workers() {
	if x.Config == nil {
		return
	}
	for _, w := range x.Config.Workers {
		if path, err := w.Program(); err != nil {
			x.note(Fail, "", "worker %s: %v", w.Name, err)
		} else {
			x.note(OK, "", "worker %s: %s can be run", w.Name, path)
		}
	}
}

func (x *examination) locate(p config.Port) (string, error) {
	if p.USB == nil {
		return p.Device, nil
	}
	d, err := x.Tree.Find(*p.USB)
	return d.Path, err
}

// device looks at one device; who is in front of what is said of it.
func (x *examination) device(who, path string) {
	err := serialio.Usable(path)
	pid, program := serialio.Holder(path)
	switch {
	case pid != 0 && pid == x.Silent:
		x.note(OK, "", "%s%s is open in the supervisor, pid %d", who, path, pid)
	case err == nil && pid != 0:
		x.note(Warn, busyRemedy(program), "%s%s can be used, but %s (pid %d) has it open too and takes some of the bytes", who, path, program, pid)
	case err == nil:
		x.note(OK, "", "%s%s can be used", who, path)
	case errors.Is(err, serialio.ErrMissing):
		x.note(Fail, x.missingRemedy(), "%s%v", who, err)
	case errors.Is(err, serialio.ErrBusy):
		x.note(Fail, busyRemedy(program), "%s%v", who, err)
	default: // it names its remedy
		x.note(Fail, "", "%s%v", who, err)
	}
}

func (x *examination) missingRemedy() string {
	if x.inContainer() {
		return "pass it into the container, as said above"
	}
	return "plug it in; `supervisor ports` lists what is there"
}

// grabberRemedies are programs that open serial ports which are not theirs.
var grabberRemedies = map[string]string{
	"ModemManager": "install packaging/udev/70-serialvisor.rules, which has it leave serial adapters alone, or: sudo systemctl disable --now ModemManager",
	"brltty":       "it takes USB serial adapters for Braille displays: sudo apt remove brltty",
}

func busyRemedy(program string) string {
	if remedy := grabberRemedies[program]; remedy != "" {
		return remedy
	}
	return "end that program, or have it use serialvisor: a device belongs to one program at a time"
}

// grabbers looks for programs that could take a port any time.
func (x *examination) grabbers() {
	usb := (devices.Identity{}).Match(x.devices)
	comms, _ := filepath.Glob(filepath.Join(x.Root, "proc", "[0-9]*", "comm"))
	for _, comm := range comms {
		name, _ := os.ReadFile(comm) // it may have ended
		program := strings.TrimSpace(string(name))
		remedy, known := grabberRemedies[program]
		switch {
		case !known:
		case program == "ModemManager" && x.ruleInstalled():
			x.note(OK, "", "ModemManager runs and is told by a udev rule to leave serial adapters alone")
		case len(usb) > 0:
			x.note(Warn, remedy, "%s runs and may open %s at any time", program, usb[0].Path)
		default:
			x.note(Warn, remedy, "%s runs and may open a USB serial adapter as soon as one is plugged in", program)
		}
	}
}

// ruleInstalled says whether our udev rule is where udev(7) looks.
func (x *examination) ruleInstalled() bool {
	for _, folder := range []string{"etc/udev/rules.d", "run/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d"} {
		if rules, _ := filepath.Glob(filepath.Join(x.Root, folder, "*serialvisor*.rules")); len(rules) > 0 {
			return true
		}
	}
	return false
}

// latency looks at the timers of FTDI adapters. For a port that is to have low latency, the supervisor sets it on opening.
func (x *examination) latency() {
	for _, d := range x.devices {
		name := filepath.Base(d.Path)
		text, err := os.ReadFile(filepath.Join(x.Tree.Sys, "bus", "usb-serial", "devices", name, "latency_timer"))
		ms, err2 := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || err2 != nil {
			continue
		}
		port, low := x.portAt(d.Path)
		r := x.running(port)
		switch {
		case ms <= 1:
			x.note(OK, "", "%s passes received bytes on after %d ms", d.Path, ms)
		case port != "" && low && (r == nil || r.State != ipc.Open):
			x.note(OK, "", "%s passes received bytes on after %d ms; port %s sets 1 ms when it opens", d.Path, ms, port)
		default:
			x.note(Warn, "set low_latency: true for its port, or install packaging/udev/70-serialvisor.rules", "%s passes received bytes on after %d ms", d.Path, ms)
		}
	}
}

// sameFile looks through links, such as those in /dev/serial/by-id.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	other, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(one, other)
}

// portAt is the port that a device belongs to, and whether it is to have low latency.
func (x *examination) portAt(path string) (name string, low bool) {
	if x.Config == nil {
		return "", false
	}
	for _, p := range x.Config.Ports {
		if at, err := x.locate(p); err == nil && sameFile(at, path) {
			return p.Name, p.Settings.LowLatency
		}
	}
	return "", false
}
