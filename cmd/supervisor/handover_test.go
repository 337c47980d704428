package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// manager stands in for systemd: it keeps the descriptors that the supervisor sends, and starts it again with them.
type manager struct {
	socket string

	mu   sync.Mutex // guards kept
	kept []keptFD   // newest first, as systemd has them
}

type keptFD struct {
	name string
	fd   int
}

func startManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{socket: filepath.Join(t.TempDir(), "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: m.socket})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
		for _, k := range m.kept {
			_ = unix.Close(k.fd)
		}
	})
	go func() {
		defer close(ended)
		text, rights := make([]byte, 4096), make([]byte, 4096)
		for {
			n, rn, _, _, err := conn.ReadMsgUnix(text, rights)
			if err != nil {
				return
			}
			m.take(t, string(text[:n]), rights[:rn])
		}
	}()
	return m
}

func (m *manager) take(t *testing.T, text string, rights []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, name, _ := strings.Cut(text, "FDNAME=")
	name, _, _ = strings.Cut(name, "\n")
	if strings.HasPrefix(text, "FDSTOREREMOVE=1") {
		m.kept = slices.DeleteFunc(m.kept, func(k keptFD) bool {
			if k.name == name {
				_ = unix.Close(k.fd)
			}
			return k.name == name
		})
		return
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		t.Errorf("message %q: %v", text, err)
		return
	}
	for _, message := range messages {
		fds, err := unix.ParseUnixRights(&message)
		if err != nil || !strings.HasPrefix(text, "FDSTORE=1") {
			t.Errorf("message %q with %d descriptors: %v", text, len(fds), err)
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			m.kept = append([]keptFD{{name, fd}}, m.kept...)
		}
	}
}

// command has the supervisor started with what is kept. A shell puts its own pid into LISTEN_PID, which it keeps over exec.
func (m *manager) command(cmd *exec.Cmd) *exec.Cmd {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	var files []*os.File
	for _, k := range m.kept {
		fd, err := unix.FcntlInt(uintptr(k.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		files = append(files, os.NewFile(uintptr(fd), k.name))
		names = append(names, k.name)
	}
	script := `export LISTEN_PID=$$; exec "$@"`
	out := exec.Command("sh", append([]string{"-c", script, "sh"}, cmd.Args...)...)
	out.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.socket, "FDSTORE=1024")
	if len(files) > 0 {
		out.Env = append(out.Env, fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
		out.ExtraFiles = files
	}
	return out
}

func (m *manager) names() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.kept {
		names = append(names, k.name)
	}
	slices.Sort(names)
	return names
}

// The supervisor is killed and stopped under traffic, time and again, and started again with what the service manager has
// kept: the device is never opened again, and no line or frame is lost or doubled.
func TestSupervisorHandsOver(t *testing.T) {
	m := startManager(t)
	device, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	g := newGateway(t, device.Path(), "queue: {storage: file, max_messages: 1000000}")
	g.device, g.manager = device, m
	g.run(t)
	first, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	stop := g.sayLines(5)
	heard := g.hearUntil("the end\n")
	var want strings.Builder
	frames := 0
	rounds := max(5, kills(t)/20)
	for round := range rounds {
		nc := g.connect(t, "send")
		for range 50 {
			frame := fmt.Sprintf("frame %d %s\n", frames, strings.Repeat("x", frames*37%3000))
			if _, err := nc.Request("serial.gps.tx", []byte(frame), patience); err != nil {
				t.Fatal(err)
			}
			want.WriteString(frame)
			frames++
		}
		nc.Close()
		signal := syscall.SIGKILL
		if round%3 == 2 {
			signal = syscall.SIGTERM
		}
		if err := g.process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		<-g.ended
		g.run(t)
	}
	last, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	if first.Ports[0].Session != last.Ports[0].Session {
		t.Errorf("the session was %s and is %s: the device was opened again; kept are %q\n%s", first.Ports[0].Session, last.Ports[0].Session, m.names(), g.errors)
	}
	count := stop()
	g.mustRun(t, nil, "send", "gps", "the end")
	want.WriteString("the end\n")
	select {
	case got := <-heard:
		if string(got) != want.String() {
			t.Errorf("the device has got %d bytes that are not the %d sent; they differ from %.60q on", len(got), want.Len(), firstDifference(got, []byte(want.String())))
		}
	case <-time.After(patience):
		t.Fatal("the last frame does not come")
	}
	g.awaitLines(t, count)
	g.awaitHistory(t, "file", "serial.gps.sent", want.String(), "")

	// A device that is unplugged is not kept.
	_ = g.device.Close()
	g.await(t, "the device is missing", func(p portNumbers) bool { return p.State == ipc.Missing })
	waitUntil(t, "the device is not kept", func() bool {
		return !slices.ContainsFunc(m.names(), func(name string) bool { return name == "gps.keeper" || name == "gps.reader" || name == "gps.writer" })
	})
}
