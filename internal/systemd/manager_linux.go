// Package systemd is the way to the service manager. It is told how the supervisor is, see sd_notify(3), and it keeps
// descriptors, see there FDSTORE=1 and sd_listen_fds(3), from where the next supervisor gets them back: so that devices stay
// open while the supervisor is restarted or killed. A program that replaces itself passes descriptors on without it.
package systemd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Manager is the service manager. A nil Manager is none: it is told nothing, and keeps nothing.
type Manager struct {
	socket   int
	address  string
	keeps    bool
	watchdog time.Duration
	deaf     atomic.Bool // it has not read for sendLimit, and is not waited for before it does
}

// sendLimit is how long is waited for a service manager that does not read. It may be busy for a while, and may be stuck.
const sendLimit = time.Second

// Enabled is set by the unit for a systemd older than 254, which does not say FDSTORE itself.
const Enabled = "SERIALVISOR_FDSTORE"

// firstFD is SD_LISTEN_FDS_START.
const firstFD = 3

// FromEnviron connects to the service manager, and takes over the descriptors that were passed, by it or by PassOn, by name.
// They are closed on exec. The environment is cleared of all that, as it concerns no child.
func FromEnviron() (m *Manager, passed map[string][]int, err error) {
	passed = listenFDs()
	problem := addPassedOn(passed)
	socket, limit := os.Getenv("NOTIFY_SOCKET"), os.Getenv("FDSTORE")
	if limit == "" {
		limit = os.Getenv(Enabled)
	}
	watchdog := watchdogFromEnviron()
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE", "WATCHDOG_USEC", "WATCHDOG_PID", passedOn} {
		_ = os.Unsetenv(name)
	}
	if socket == "" {
		return nil, passed, problem
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, passed, fmt.Errorf("service manager: %w", err)
	}
	limited := unix.NsecToTimeval(sendLimit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limited); err != nil {
		_ = unix.Close(fd)
		return nil, passed, fmt.Errorf("service manager: %w", err)
	}
	kept, _ := strconv.Atoi(limit)
	return &Manager{socket: fd, address: socket, keeps: kept > 0, watchdog: watchdog}, passed, problem
}

// watchdogFromEnviron is what sd_watchdog_enabled(3) returns.
func watchdogFromEnviron() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, _ := strconv.ParseUint(os.Getenv("WATCHDOG_USEC"), 10, 32) // more than an hour is as good as none
	return time.Duration(usec) * time.Microsecond
}

// Keeps says whether it keeps descriptors.
func (m *Manager) Keeps() bool { return m != nil && m.keeps }

// Environ is how a program that replaces this one finds the service manager, beside what the environment has still.
func (m *Manager) Environ() (variables []string) {
	if m.Keeps() {
		variables = append(variables, Enabled+"=1")
	}
	if m.Watchdog() > 0 {
		variables = append(variables, fmt.Sprintf("WATCHDOG_USEC=%d", m.watchdog.Microseconds()))
	}
	return variables
}

// Watchdog is within what time it wants to hear WATCHDOG=1 again; 0: it does not.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Notify tells it something, in lines of the form NAME=value.
func (m *Manager) Notify(lines ...string) error {
	if m == nil {
		return nil
	}
	if err := m.send(strings.Join(lines, "\n"), nil); err != nil {
		return fmt.Errorf("tell the service manager %s: %w", lines[0], err)
	}
	return nil
}

// Reloading are the lines that announce a change, after which READY=1 is due.
func Reloading() []string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail for this clock
	return []string{"RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000)}
}

// listenFDs is what sd_listen_fds_with_names(3) returns. Several descriptors can have one name.
func listenFDs() map[string][]int {
	passed := map[string][]int{}
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID")); pid != os.Getpid() {
		return passed
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range count {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		unix.CloseOnExec(firstFD + i)
		passed[name] = append(passed[name], firstFD+i)
	}
	return passed
}

// Keep has a copy of a descriptor kept under a name. One that hangs up is dropped by the service manager.
func (m *Manager) Keep(name string, fd int) error {
	if !m.Keeps() {
		return nil
	}
	if err := m.send("FDSTORE=1\nFDNAME="+name, unix.UnixRights(fd)); err != nil {
		return fmt.Errorf("keep descriptor %s with the service manager: %w", name, err)
	}
	return nil
}

// Drop has all descriptors of a name forgotten.
func (m *Manager) Drop(name string) error {
	if !m.Keeps() {
		return nil
	}
	if err := m.send("FDSTOREREMOVE=1\nFDNAME="+name, nil); err != nil {
		return fmt.Errorf("have the service manager forget descriptor %s: %w", name, err)
	}
	return nil
}

// ErrDeaf is wrapped by the error for what a service manager does not take.
var ErrDeaf = errors.New("the service manager does not read")

// send waits while the service manager has too much to do, for a time.
func (m *Manager) send(text string, rights []byte) error {
	for {
		flags := unix.MSG_NOSIGNAL
		if m.deaf.Load() {
			flags |= unix.MSG_DONTWAIT
		}
		// The address is written to by the call, so that each needs its own.
		err := unix.Sendmsg(m.socket, []byte(text), rights, &unix.SockaddrUnix{Name: m.address}, flags)
		if err == unix.EINTR {
			continue
		}
		m.deaf.Store(err == unix.EAGAIN)
		if err == unix.EAGAIN {
			return ErrDeaf
		}
		return err
	}
}
