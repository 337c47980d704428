// Package doctor looks for what stands in the way of using serial ports, and says what to do about it. It opens no device
// and changes nothing.
package doctor

import (
	"fmt"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/devices"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // it works, and could be better
	Fail Level = "fail" // something does not work
)

// Finding is what was found in one place.
type Finding struct {
	Level  Level  `json:"level"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// String is a line for people.
func (f Finding) String() string {
	text := fmt.Sprintf("%-4s  %s", f.Level, f.What)
	if f.Remedy != "" {
		text += " — " + f.Remedy
	}
	return text
}

// Patient is what is looked at.
type Patient struct {
	Config   *config.Config // nil: there is none, and only the machine is looked at
	StateDir string
	Running  *ipc.Status // nil: no supervisor runs on the state folder, or it does not answer
	Silent   int         // pid of a supervisor that has the state folder and does not answer; 0: there is none
	Tree     devices.Tree
	Root     string // of /proc, /etc, /run and so on
}

// Examine looks at everything.
func Examine(p Patient) ([]Finding, error) {
	list, err := p.Tree.List()
	if err != nil {
		return nil, err
	}
	x := &examination{Patient: p, devices: list}
	x.container()
	x.ports()
	x.workers()
	x.grabbers()
	x.latency()
	x.stateFolder()
	x.broker()
	return x.findings, nil
}

// examination collects findings.
type examination struct {
	Patient
	devices  []devices.Device
	findings []Finding
}

func (x *examination) note(level Level, remedy, format string, args ...any) {
	x.findings = append(x.findings, Finding{level, fmt.Sprintf(format, args...), remedy})
}

// running is what the running supervisor says of a port, or nil.
func (x *examination) running(port string) *ipc.PortStatus {
	if x.Running == nil {
		return nil
	}
	for i := range x.Running.Ports {
		if x.Running.Ports[i].Name == port {
			return &x.Running.Ports[i]
		}
	}
	return nil
}
