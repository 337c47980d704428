package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// An address that somebody takes during an upgrade, and gives back later, does not end the gateway.
func TestAddressIsTakenDuringAnUpgrade(t *testing.T) {
	for _, c := range []struct{ what, config, says string }{
		{"metrics", "metrics: {listen: ADDRESS}\n", "there are no metrics"},
		{"websocket", "broker: {listen: 127.0.0.1:0, websocket: {listen: ADDRESS}}\n", "set broker.websocket.listen"},
		{"mqtt", "broker: {listen: 127.0.0.1:0, mqtt: {listen: ADDRESS}}\n", "set broker.mqtt.listen"},
	} {
		t.Run(c.what, func(t *testing.T) {
			g := newOpenGateway(t)
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := free.Addr().String()
			_ = free.Close()
			config := strings.ReplaceAll(c.config, "ADDRESS", address)
			if !strings.Contains(config, "broker:") {
				config += "broker: {listen: 127.0.0.1:0}\n"
			}
			g.write(t, fmt.Sprintf("name: test\n%sports: {gps: {device: %s}}\n", config, g.device.Path()))
			g.addWorkers(t, g.polite())
			g.install(t)
			g.run(t)
			pid := g.awaitWorker(t, "polite", ipc.WorkerRunning).PID
			leave := filepath.Join(g.dir, "leave")
			g.between(t, "take", address, leave)
			if err := g.process.Signal(syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "it says that the address is taken", func() bool { return strings.Contains(g.errors.String(), c.says) })
			if c.what == "metrics" {
				g.await(t, "it answers without them", func(p portNumbers) bool { return p.State == ipc.Open })
			}
			if err := os.WriteFile(leave, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			g.await(t, "it answers", func(p portNumbers) bool { return p.State == ipc.Open })
			waitUntil(t, "the address is its own again", func() bool {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					return false
				}
				_ = conn.Close()
				s, err := g.status()
				return err == nil && (c.what != "metrics" || s.MetricsURL == "http://"+address)
			})
			if w := g.awaitWorker(t, "polite", ipc.WorkerRunning); w.PID != pid {
				t.Errorf("the worker's process %d has become %d\n%s", pid, w.PID, g.errors)
			}
		})
	}
}

// A service manager that does not read holds nothing up, a stop least of all.
func TestServiceManagerDoesNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	deaf, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = deaf.Close() }()
	// Nothing fits any more when one finds no room who has not sent anything: each sender has a limit of its own, too.
	for sent := 1; sent > 0; {
		sender, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(sender) }() // at the end of the test
		for sent = 0; err == nil; sent++ {
			err = unix.Sendto(sender, []byte("full"), unix.MSG_DONTWAIT, &unix.SockaddrUnix{Name: path})
		}
		if sent--; err != unix.EAGAIN {
			t.Fatal(err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("FDSTORE", "100")
	g := newOpenGateway(t)
	g.install(t)
	g.run(t)
	g.mustRun(t, nil, "reload")
	g.mustRun(t, nil, "upgrade")
	g.wantInTime(t)
	if n := strings.Count(g.errors.String(), "the service manager does not listen"); n == 0 || n > 4 {
		t.Errorf("it was said %d times that the service manager does not listen\n%s", n, g.errors)
	}
}
