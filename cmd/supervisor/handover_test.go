package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/servicemanager"
)

func startManager(t *testing.T) *servicemanager.Manager {
	t.Helper()
	m, err := servicemanager.Start(filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// sendNumbered queues frames of all lengths, and appends them to what is wanted.
func (g *gateway) sendNumbered(t *testing.T, first, count int, want *strings.Builder) {
	t.Helper()
	nc := g.connect(t, "send")
	defer nc.Close()
	for n := first; n < first+count; n++ {
		frame := fmt.Sprintf("frame %d %s\n", n, strings.Repeat("x", n*37%3000))
		if _, err := nc.Request("serial.gps.tx", []byte(frame), patience); err != nil {
			t.Fatal(err)
		}
		want.WriteString(frame)
	}
}

// wantHeard wants the device to have got some text in time.
func wantHeard(t *testing.T, heard <-chan []byte, want string, limit time.Duration) {
	t.Helper()
	select {
	case got := <-heard:
		if string(got) != want {
			t.Errorf("the device has got %d bytes that are not the %d sent; they differ from %.60q on", len(got), len(want), firstDifference(got, []byte(want)))
		}
	case <-time.After(limit):
		t.Fatal("the last frame does not come")
	}
}

// The supervisor is killed and stopped under traffic, time and again, and started again with what the service manager has
// kept: the device is never opened again, and no line or frame is lost or doubled, also when the config has moved the queue.
func TestSupervisorHandsOver(t *testing.T) {
	m := startManager(t)
	g := newOpenGateway(t)
	// The queue moves each time from the stream that it shares with the others to one of its own, or back.
	config := func(most int) {
		text := fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nports:\n  gps: {device: %s, queue: {max_messages: %d}}\n", g.device.Path(), most)
		for _, name := range []string{"away", "gone"} {
			text += fmt.Sprintf("  %s: {device: %s, queue: {max_messages: 1000000}}\n", name, filepath.Join(g.dir, name))
		}
		g.write(t, text)
	}
	config(1000000)
	g.manager = m
	g.run(t)
	first, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	stop := g.sayLines(5)
	heard := g.hearUntil("the end\n")
	var want strings.Builder
	rounds := max(5, kills(t)/20)
	for round := range rounds {
		g.sendNumbered(t, 50*round, 50, &want)
		signal := syscall.SIGKILL
		if round%3 == 2 {
			signal = syscall.SIGTERM
		}
		if err := g.process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		<-g.ended
		config(1000000 - (round+1)%2)
		g.run(t)
	}
	last, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	if first.Ports[0].Session != last.Ports[0].Session {
		t.Errorf("the session was %s and is %s: the device was opened again; kept are %q\n%s", first.Ports[0].Session, last.Ports[0].Session, m.Names(), g.errors)
	}
	count := stop()
	g.mustRun(t, nil, "send", "gps", "the end")
	want.WriteString("the end\n")
	wantHeard(t, heard, want.String(), patience)
	g.awaitLines(t, count)
	g.awaitHistory(t, "file", "serial.gps.sent", want.String(), "")

	// A device that is unplugged is not kept.
	_ = g.device.Close()
	g.await(t, "the device is missing", func(p portNumbers) bool { return p.State == ipc.Missing })
	waitUntil(t, "the device is not kept", func() bool {
		return !slices.ContainsFunc(m.Names(), func(name string) bool { return name == "gps.keeper" || name == "gps.reader" || name == "gps.writer" })
	})
}

// What is kept of a port whose frames may be longer now does not fit, and is let go of: nobody else holds the device.
func TestKeptMemoryIsTooSmall(t *testing.T) {
	g := newOpenGateway(t)
	g.manager = startManager(t)
	config := func(longest string) {
		g.write(t, fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nports: {gps: {device: %s, framing: {type: line, max_bytes: %s}}}\n", g.device.Path(), longest))
	}
	config("64KiB")
	g.run(t)
	g.await(t, "the device is open", func(p portNumbers) bool { return p.State == ipc.Open })
	if err := g.process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	config("1MiB")
	g.run(t)
	g.await(t, "the device is open again", func(p portNumbers) bool { return p.State == ipc.Open })
	if !strings.Contains(g.errors.String(), "does not fit any more") {
		t.Errorf("the log does not say that the memory is another:\n%s", g.errors)
	}
	g.mustRun(t, []byte("hello"), "send", "gps", "-", "--wait")
}
