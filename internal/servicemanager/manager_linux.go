// Package servicemanager stands in for systemd, for tests: it hears what a supervisor tells it by internal/systemd, keeps
// the descriptors that it is sent, and starts the next one with them.
package servicemanager

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Watchdog is within what time it wants to hear from a supervisor.
const Watchdog = time.Second

// Manager keeps descriptors until Close.
type Manager struct {
	socket string
	conn   *net.UnixConn
	ended  chan struct{}

	mu       sync.Mutex // guards all below
	kept     []descriptor
	said     []string
	problems []error
}

// descriptor is one that is kept; the newest comes first, as systemd has them.
type descriptor struct {
	name string
	fd   int
}

// Start listens on a socket for notifications, see sd_notify(3). Its path must be free and shorter than 108 bytes.
func Start(socket string) (*Manager, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
	if err != nil {
		return nil, fmt.Errorf("stand in for systemd: %w", err)
	}
	m := &Manager{socket: socket, conn: conn, ended: make(chan struct{})}
	go func() { // Close waits for it
		defer close(m.ended)
		text, rights := make([]byte, 4096), make([]byte, 4096)
		for {
			n, rn, _, _, err := conn.ReadMsgUnix(text, rights)
			if err != nil {
				return
			}
			m.take(string(text[:n]), rights[:rn])
		}
	}()
	return m, nil
}

// Close lets go of all descriptors. It returns what was wrong with the messages that came.
func (m *Manager) Close() error {
	err := m.conn.Close()
	<-m.ended
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.kept {
		_ = unix.Close(d.fd)
	}
	m.kept = nil
	return errors.Join(append(m.problems, err)...)
}

// take does what a message asks for.
func (m *Manager) take(text string, rights []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, name, _ := strings.Cut(text, "FDNAME=")
	name, _, _ = strings.Cut(name, "\n")
	if strings.HasPrefix(text, "FDSTOREREMOVE=1") {
		m.drop(func(d descriptor) bool { return d.name == name })
		return
	}
	if !strings.HasPrefix(text, "FDSTORE=1") {
		m.said = append(m.said, text)
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		m.problems = append(m.problems, fmt.Errorf("message %q: %w", text, err))
		return
	}
	for _, message := range messages {
		fds, err := unix.ParseUnixRights(&message)
		if err != nil || !strings.HasPrefix(text, "FDSTORE=1") {
			m.problems = append(m.problems, fmt.Errorf("message %q with %d descriptors: %v", text, len(fds), err))
		}
		for _, fd := range fds {
			m.kept = append([]descriptor{{name, fd}}, m.kept...)
		}
	}
}

// drop must be called with mu held.
func (m *Manager) drop(which func(descriptor) bool) {
	m.kept = slices.DeleteFunc(m.kept, func(d descriptor) bool {
		gone := which(d)
		if gone {
			_ = unix.Close(d.fd)
		}
		return gone
	})
}

// Command is a command that has the program of cmd started with its environment and what is kept, apart from descriptors
// that have hung up. When it was started, or was not, the caller closes its ExtraFiles.
func (m *Manager) Command(cmd *exec.Cmd) (*exec.Cmd, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(hungUp)
	var names []string
	var files []*os.File
	for _, d := range m.kept {
		fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, fmt.Errorf("pass descriptor %s on: %w", d.name, err)
		}
		files = append(files, os.NewFile(uintptr(fd), d.name))
		names = append(names, d.name)
	}
	// A shell puts its own pid into LISTEN_PID, which it keeps over exec.
	script := `export LISTEN_PID=$$; exec "$@"`
	out := exec.Command("sh", append([]string{"-c", script, "sh"}, cmd.Args...)...)
	out.Env = append(cmd.Environ(), "NOTIFY_SOCKET="+m.socket, "FDSTORE=1024", fmt.Sprintf("WATCHDOG_USEC=%d", Watchdog.Microseconds()))
	if len(files) > 0 {
		out.Env = append(out.Env, fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
		out.ExtraFiles = files
	}
	return out, nil
}

// hungUp says whether systemd would not keep a descriptor any more.
func hungUp(d descriptor) bool {
	fds := []unix.PollFd{{Fd: int32(d.fd)}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// Said lists what it was told, beside what it keeps, oldest first.
func (m *Manager) Said() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.said)
}

// Names lists the names of what is kept.
func (m *Manager) Names() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.kept {
		names = append(names, d.name)
	}
	slices.Sort(names)
	return names
}
