// Package fdstore keeps descriptors with the service manager, systemd, from where the next supervisor gets them back: so
// that devices stay open while the supervisor is restarted, upgraded or killed. See sd_notify(3) about FDSTORE=1 and
// sd_listen_fds(3).
package fdstore

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Store is the way to the service manager. A nil Store keeps nothing.
type Store struct {
	socket  int
	manager *unix.SockaddrUnix
}

// Enabled is set by the unit for a systemd older than 254, which does not say FDSTORE itself.
const Enabled = "SERIALVISOR_FDSTORE"

// firstFD is SD_LISTEN_FDS_START.
const firstFD = 3

// FromEnviron connects to the service manager if it keeps descriptors for this service, and takes over those that it has
// passed, by name. They are closed on exec. The environment is cleared of all that, as it concerns no child.
func FromEnviron() (s *Store, passed map[string][]int, err error) {
	passed = listenFDs()
	socket, limit := os.Getenv("NOTIFY_SOCKET"), os.Getenv("FDSTORE")
	if limit == "" {
		limit = os.Getenv(Enabled)
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE"} {
		_ = os.Unsetenv(name)
	}
	if n, _ := strconv.Atoi(limit); socket == "" || n < 1 {
		return nil, passed, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, passed, fmt.Errorf("service manager: %w", err)
	}
	return &Store{fd, &unix.SockaddrUnix{Name: socket}}, passed, nil
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
func (s *Store) Keep(name string, fd int) error {
	if s == nil {
		return nil
	}
	if err := s.send("FDSTORE=1\nFDNAME="+name, unix.UnixRights(fd)); err != nil {
		return fmt.Errorf("keep descriptor %s with the service manager: %w", name, err)
	}
	return nil
}

// Drop has all descriptors of a name forgotten.
func (s *Store) Drop(name string) error {
	if s == nil {
		return nil
	}
	if err := s.send("FDSTOREREMOVE=1\nFDNAME="+name, nil); err != nil {
		return fmt.Errorf("have the service manager forget descriptor %s: %w", name, err)
	}
	return nil
}

// send waits while the service manager has too much to do.
func (s *Store) send(text string, rights []byte) error {
	for {
		err := unix.Sendmsg(s.socket, []byte(text), rights, s.manager, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}
