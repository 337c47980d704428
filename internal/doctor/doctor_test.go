package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/devices"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// machine is a healthy one without a device: everything is below a folder of its own.
type machine struct {
	Patient
	t *testing.T
}

func newMachine(t *testing.T, settings string) *machine {
	t.Helper()
	root := t.TempDir()
	m := &machine{Patient{StateDir: filepath.Join(root, "state"), Tree: devices.Tree{Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev")}, Root: root}, t}
	m.folder("sys/class/tty")
	m.folder("proc/1")
	if settings != "" {
		conf, err := config.Parse("c.yaml", []byte("broker: {listen: 127.0.0.1:0}\nhistory: {max_bytes: 1MiB}\n"+settings))
		if err != nil {
			t.Fatal(err)
		}
		m.Config = conf
	}
	return m
}

func (m *machine) folder(path string) string {
	m.t.Helper()
	path = filepath.Join(m.Root, path)
	if err := os.MkdirAll(path, 0o700); err != nil {
		m.t.Fatal(err)
	}
	return path
}

func (m *machine) file(path, content string) {
	m.t.Helper()
	m.folder(filepath.Dir(path))
	if err := os.WriteFile(filepath.Join(m.Root, path), []byte(content+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// ftdi plugs an adapter in whose node is a pseudo-terminal.
func (m *machine) ftdi(name string, latency int) *simulator.Pty {
	m.t.Helper()
	pty, err := simulator.Open()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = pty.Close() })
	port := "sys/devices/usb1/1-1/1-1:1.0/" + name
	m.file("sys/devices/usb1/1-1/idVendor", "0403")
	m.file("sys/devices/usb1/1-1/1-1:1.0/bInterfaceNumber", "00")
	m.file(port+"/latency_timer", fmt.Sprint(latency))
	m.folder("sys/class/tty/" + name)
	m.folder("sys/bus/usb-serial/devices")
	m.folder("dev")
	for link, target := range map[string]string{
		"sys/class/tty/" + name + "/device": filepath.Join(m.Root, port), "sys/bus/usb-serial/devices/" + name: filepath.Join(m.Root, port),
		"dev/" + name: pty.Path(),
	} {
		if err := os.Symlink(target, filepath.Join(m.Root, link)); err != nil {
			m.t.Fatal(err)
		}
	}
	return pty
}

// wants examines the machine: a finding of that level must have all the words, in what it says or advises.
func (m *machine) wants(level Level, words ...string) {
	m.t.Helper()
	findings, err := Examine(m.Patient)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, f := range findings {
		text := f.String()
		if f.Level == level && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return
		}
	}
	m.t.Errorf("no finding %s with %q in:\n%s", level, words, lines(findings))
}

// failsNothing examines a machine that is well.
func (m *machine) failsNothing() {
	m.t.Helper()
	findings, err := Examine(m.Patient)
	if err != nil {
		m.t.Fatal(err)
	}
	if slices.ContainsFunc(findings, func(f Finding) bool { return f.Level != OK }) {
		m.t.Errorf("a healthy machine has:\n%s", lines(findings))
	}
}

func lines(findings []Finding) string {
	text := ""
	for _, f := range findings {
		text += f.String() + "\n"
	}
	return text
}

func TestDevices(t *testing.T) {
	m := newMachine(t, "ports: {gps: {usb: {vid: 0403}}}")
	m.wants(Fail, "port gps: usb 0403:any: no such device", "plug it in; `supervisor ports`")
	pty := m.ftdi("ttyUSB0", 1)
	m.failsNothing()
	m.wants(OK, "port gps: ", "ttyUSB0 can be used")
	m.wants(OK, "ttyUSB0 passes received bytes on after 1 ms")

	// Another program has it.
	fd, err := unix.Open(pty.Path(), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	m.wants(Fail, "port gps: open ", "device is in use by ", "end that program, or have it use serialvisor")

	// Our own supervisor has it.
	m.Running = &ipc.Status{PID: 7, Ports: []ipc.PortStatus{{Name: "gps", State: ipc.Open}}}
	m.wants(OK, "port gps: the running supervisor has it open")
	m.wants(OK, "a supervisor runs on the state folder", "pid 7")
	cat := exec.Command("cat")
	if cat.Stdin, err = os.OpenFile(pty.Path(), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	m.Running.Ports[0].Device = pty.Path()
	m.wants(Warn, "port gps: the running supervisor has it open, but cat (pid ", "has it open too and takes some of the bytes")
	_, _ = cat.Process.Kill(), cat.Wait()
	m.Running.Ports[0] = ipc.PortStatus{Name: "gps", State: ipc.Failed, Error: "the driver refused the line settings"}
	m.wants(Fail, "port gps: the driver refused the line settings")
}

func TestWorkerPrograms(t *testing.T) {
	m := newMachine(t, "ports: {gps: {device: /etc}}\nworkers: {a: {command: [sh]}, b: {command: [./nowhere]}}")
	m.wants(OK, "worker a: /", "/sh can be run")
	m.wants(Fail, "worker b: command: there is no program /", "a relative path begins at directory: ")
}

func TestDeviceThatIsNone(t *testing.T) {
	m := newMachine(t, "ports: {gps: {device: /etc}}")
	m.wants(Fail, "port gps: open /etc: it is a directory, not a serial device (set device:")
}

func TestContainer(t *testing.T) {
	m := newMachine(t, "ports: {gps: {device: /nowhere/ttyUSB0}}")
	m.file(".dockerenv", "")
	m.wants(OK, "this is a container", "--device=/dev/ttyUSB0", "--device-cgroup-rule")
	m.wants(Fail, "port gps: open /nowhere/ttyUSB0: no such device", "pass it into the container")
}

func TestGrabbers(t *testing.T) {
	m := newMachine(t, "")
	m.file("proc/41/comm", "ModemManager")
	m.wants(Warn, "ModemManager runs and may open a USB serial adapter as soon as one is plugged in", "70-serialvisor.rules")
	m.ftdi("ttyUSB3", 1)
	m.wants(Warn, "ModemManager runs and may open", "ttyUSB3 at any time")
	m.file("etc/udev/rules.d/70-serialvisor.rules", "")
	m.wants(OK, "ModemManager runs and is told by a udev rule")
	m.file("proc/42/comm", "brltty")
	m.wants(Warn, "brltty runs", "sudo apt remove brltty")
}

func TestLatency(t *testing.T) {
	m := newMachine(t, "ports: {gps: {usb: {vid: 0403}, low_latency: false}}")
	m.ftdi("ttyUSB0", 16)
	m.wants(Warn, "ttyUSB0 passes received bytes on after 16 ms", "low_latency: true")
	m.Config.Ports[0].Settings.LowLatency = true
	m.wants(OK, "after 16 ms; port gps sets 1 ms when it opens")
}

func TestStateFolder(t *testing.T) {
	m := newMachine(t, "ports: {gps: {usb: {vid: 0403}}}")
	m.ftdi("ttyUSB0", 1)
	m.Config.History.MaxBytes = 1 << 50
	m.wants(Warn, "the history may grow by", "lower history.max_bytes")
	m.file("afile", "")
	m.StateDir = filepath.Join(m.Root, "afile", "state")
	m.wants(Fail, "cannot be written", "choose another with --state-dir")
	m.StateDir = "/proc/state" // nothing can be made there: for root there is no room, for others no permission
	m.wants(Fail, "/proc")
}

func TestBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	m := newMachine(t, "ports: {gps: {usb: {vid: 0403}}}")
	m.Config.Broker.Listen = l.Addr().String()
	m.wants(Fail, "the broker cannot listen at "+l.Addr().String(), "address already in use", "broker.listen")
	m.Running = &ipc.Status{}
	m.ftdi("ttyUSB0", 1)
	m.failsNothing()
}

func TestNoSysfs(t *testing.T) {
	m := newMachine(t, "")
	if err := os.RemoveAll(m.Tree.Sys); err != nil {
		t.Fatal(err)
	}
	if _, err := Examine(m.Patient); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Examine: %v", err)
	}
}
