package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/servicemanager"
)

// install puts copies of the gateway's programs into a folder of their own, as an upgrade does: under their names at once.
func (g *gateway) install(t *testing.T) {
	t.Helper()
	folder := filepath.Join(g.dir, "bin")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"supervisor", "reader", "writer"} {
		copyProgram(t, filepath.Join(programs, name), filepath.Join(folder, name))
	}
	g.programs = folder
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	program, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", program, 0o755)
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// upgrades is how often a supervisor is upgraded.
const upgrades = 4

// The supervisor is upgraded under traffic, time and again: the process stays, the device is never opened again, no line or frame is
// lost or doubled, and a worker of the user's own is there again.
func TestUpgradeUnderTraffic(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprintf("managed %t", managed), func(t *testing.T) {
			g := newOpenGateway(t)
			g.install(t)
			g.write(t, fmt.Sprintf("name: test\nbroker: {listen: 127.0.0.1:0}\nports: {gps: {device: %s}, gone: {device: %s}}\n"+
				"workers: {cat: {command: exec cat > seen, directory: %s, stdio: true, ports: [gps], role: tap}}\n",
				g.device.Path(), filepath.Join(g.dir, "gone"), g.dir))
			if managed {
				g.manager = startManager(t)
			}
			g.run(t)
			first, err := g.status()
			if err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "all workers run", func() bool { return g.allRun(t) })
			before := g.processes(t)
			stop := g.sayLines(5)
			heard := g.hearUntil("the end\n")
			var want strings.Builder
			for round := range upgrades {
				g.sendNumbered(t, 50*round, 50, &want)
				g.install(t)
				if round%2 == 0 {
					t.Logf("%s", g.mustRun(t, nil, "upgrade"))
				} else {
					g.signalUpgrade(t)
				}
				g.await(t, "the port is open", func(p portNumbers) bool { return p.State == ipc.Open })
			}
			last, err := g.status()
			if err != nil {
				t.Fatal(err)
			}
			if first.PID != last.PID || first.Ports[0].Session != last.Ports[0].Session {
				t.Errorf("process %d with session %s has become %d with %s\n%s", first.PID, first.Ports[0].Session, last.PID, last.Ports[0].Session, g.errors)
			}
			count := stop()
			g.mustRun(t, nil, "send", "gps", "the end")
			want.WriteString("the end\n")
			wantHeard(t, heard, want.String(), patience)
			g.awaitLines(t, count)
			waitUntil(t, "all workers run", func() bool { return g.allRun(t) })
			g.wantSeen(t, count)
			if after := g.processes(t); !maps.Equal(before, after) {
				t.Errorf("the workers' processes %v have become %v\n%s", before, after, g.errors)
			}
			if !managed {
				return
			}
			said := g.manager.Said()
			if n := countPrefix(said, "RELOADING=1"); n != upgrades || countPrefix(said, "READY=1") != upgrades+1 || countPrefix(said, "STOPPING=1") != 0 {
				t.Errorf("%d upgrades were announced %d times: %q", upgrades, n, said)
			}
		})
	}
}

// wantSeen waits until a worker has read all lines that the device has said, and wants each to be there once.
func (g *gateway) wantSeen(t *testing.T, count int) {
	t.Helper()
	var want strings.Builder
	for n := range count {
		fmt.Fprintf(&want, "line %d\n", n)
	}
	path := filepath.Join(g.dir, "seen")
	waitUntil(t, "the worker has read all", func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() >= int64(want.Len())
	})
	if seen, err := os.ReadFile(path); err != nil || string(seen) != want.String() {
		t.Errorf("the worker has read %d bytes that are not the %d said, %v; they differ from %.60q on", len(seen), want.Len(), err,
			firstDifference(seen, []byte(want.String())))
	}
}

// processes are those of the workers, by name.
func (g *gateway) processes(t *testing.T) map[string]int {
	t.Helper()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]int{}
	for _, w := range s.Workers {
		list[w.Name] = w.PID
	}
	return list
}

// allRun says whether all workers run, apart from those of the port "gone".
func (g *gateway) allRun(t *testing.T) bool {
	t.Helper()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	return !slices.ContainsFunc(s.Workers, func(w ipc.WorkerStatus) bool {
		return w.State != ipc.WorkerRunning && !strings.HasPrefix(w.Name, "gone/")
	})
}

// signalUpgrade upgrades by SIGUSR2, and waits for the new supervisor.
func (g *gateway) signalUpgrade(t *testing.T) {
	t.Helper()
	before, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the new supervisor answers", func() bool {
		s, err := g.status()
		return err == nil && !s.Started.Equal(before.Started)
	})
}

// countPrefix says how many texts begin with another.
func countPrefix(texts []string, prefix string) (n int) {
	for _, text := range texts {
		if strings.HasPrefix(text, prefix) {
			n++
		}
	}
	return n
}

// An upgrade that would not work changes nothing.
func TestUpgradeIsRefused(t *testing.T) {
	g := newOpenGateway(t)
	g.install(t)
	g.run(t)
	config, err := os.ReadFile(filepath.Join(g.dir, "c.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		spoil func()
		want  string
	}{
		{"a config with a mistake", func() { g.write(t, "ports: {gps: {baud: fast}}\n") }, "c.yaml:1:"},
		{"a program that does not run", func() { g.replace(t, "supervisor", "#!/bin/sh\necho no such library >&2; exit 127\n") }, "no such library"},
		{"a program that is none", func() { g.replace(t, "supervisor", "nothing") }, "exec format error"},
		{"a reader that is none", func() { g.replace(t, "reader", "nothing") }, "exec format error"},
		{"a writer that does not run", func() { g.replace(t, "writer", "#!/bin/sh\necho no such library >&2; exit 127\n") }, "no such library"},
		{"a writer that is another program", func() { g.replace(t, "writer", "#!/bin/sh\n") }, "it is no program of serialvisor"},
		{"a reader of another version", func() { g.replace(t, "reader", "#!/bin/sh\necho reader version 0.0.1\n") }, "version 0.0.1"},
		{"a program that is missing", func() { g.remove(t, "reader") }, "reader is missing"},
	} {
		c.spoil()
		cmd := g.supervisor("upgrade")
		cmd.Path = filepath.Join(programs, "supervisor")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v: %s; want an error that says %q", c.what, err, out, c.want)
		}
		g.install(t)
		g.write(t, string(config))
		if s, err := g.status(); err != nil || s.Ports[0].State != ipc.Open {
			t.Fatalf("%s: then the gateway is not as before: %+v, %v", c.what, s.Ports, err)
		}
	}
	g.mustRun(t, nil, "upgrade")
}

// A program that does not end its check holds up no stop.
func TestStopDuringAnUpgrade(t *testing.T) {
	g := newOpenGateway(t)
	g.install(t)
	g.run(t)
	checking := filepath.Join(g.dir, "checking")
	g.replace(t, "supervisor", "#!/bin/sh\n: > '"+checking+"'\nexec sleep 100\n")
	if err := g.process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the new program checks the config", func() bool {
		_, err := os.Stat(checking)
		return err == nil
	})
	g.wantInTime(t)
}

// Whoever stops the supervisor while another program takes over is heard, by one of them, and nothing that was received is lost.
func TestStopWinsOverAnUpgrade(t *testing.T) {
	g := newOpenGateway(t)
	g.addWorkers(t, []string{"slow", `command: "trap 'sleep 2; exit' TERM; while :; do sleep 0.1; done"`})
	g.install(t)
	g.run(t)
	stop := g.sayLines(5)
	upgrade := g.supervisor("upgrade")
	var said bytes.Buffer
	upgrade.Stdout, upgrade.Stderr = &said, &said
	if err := upgrade.Start(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the upgrade has begun", func() bool { return strings.Contains(g.errors.String(), "msg=upgrading") })
	counted := make(chan int, 1)
	go func() { counted <- stop() }() // while somebody reads what the device says
	g.wantInTime(t)
	count := <-counted
	begun := strings.Count(g.errors.String(), "msg=ready")
	switch err := upgrade.Wait(); {
	case begun > 2, err == nil && begun < 2, err != nil && !strings.Contains(said.String(), "has ended, and no supervisor has taken its place"):
		t.Errorf("%d supervisors have begun, and the upgrade ended with %v: %s\n%s", begun, err, &said, g.errors)
	}
	g.run(t)
	g.awaitLines(t, count)
}

func (g *gateway) replace(t *testing.T, name, text string) {
	t.Helper()
	g.remove(t, name)
	if err := os.WriteFile(filepath.Join(g.programs, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (g *gateway) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(g.programs, name)); err != nil {
		t.Fatal(err)
	}
}

// The service manager is told when the supervisor is ready, how its ports are, that it is alive, and that it stops.
func TestServiceManagerIsTold(t *testing.T) {
	g := newOpenGateway(t)
	g.manager = startManager(t)
	g.run(t)
	said := func(want string) func() bool {
		return func() bool {
			return slices.ContainsFunc(g.manager.Said(), func(text string) bool { return strings.HasPrefix(text, want) })
		}
	}
	waitUntil(t, "it is ready", said("READY=1"))
	waitUntil(t, "the port is told of", said("STATUS=1 of 1 ports open, 2 workers running"))
	waitUntil(t, "it is alive", said("WATCHDOG=1"))
	g.mustRun(t, nil, "reload")
	waitUntil(t, "a reload is told of", said("RELOADING=1\nMONOTONIC_USEC="))
	_ = g.device.Close()
	waitUntil(t, "the port is told of", said("STATUS=0 of 1 ports open"))
	if err := g.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	waitUntil(t, "the stop is told of", said("STOPPING=1"))
}

// One that hangs says nothing more, and so is replaced.
func TestServiceManagerHearsNoWatchdog(t *testing.T) {
	g := newOpenGateway(t)
	g.manager = startManager(t)
	g.run(t)
	alive := func() int { return countPrefix(g.manager.Said(), "WATCHDOG=1") }
	waitUntil(t, "it is alive", func() bool { return alive() > 0 })
	if err := g.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.process.Signal(syscall.SIGCONT) }()
	before := alive()
	<-time.After(2 * servicemanager.Watchdog)
	if n := alive(); n > before+1 {
		t.Errorf("a supervisor that hangs has said %d times that it is alive", n-before)
	}
	if err := g.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "it is alive again", func() bool { return alive() > before+1 })
}
