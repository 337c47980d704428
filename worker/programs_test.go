package worker_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// awaitWorker waits until a worker is in a state, and returns its status.
func (g *gateway) awaitWorker(t *testing.T, name string, state ipc.WorkerState) (w ipc.WorkerStatus) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("worker %s is %s", name, state), func() bool {
		list := g.status().Workers
		i := slices.IndexFunc(list, func(w ipc.WorkerStatus) bool { return w.Name == name })
		if i < 0 {
			return false
		}
		w = list[i]
		return w.State == state
	})
	return w
}

// ends stops a worker, which must end by itself with code 0.
func (g *gateway) ends(t *testing.T, name string) {
	t.Helper()
	if out, err := g.command("stop", name).CombinedOutput(); err != nil {
		t.Fatalf("supervisor stop %s: %v\n%s", name, err, out)
	}
	if w := g.awaitWorker(t, name, ipc.WorkerStopped); w.LastExit != "exit 0" || w.Restarts != 0 {
		t.Errorf("worker %s ended with %s after %d restarts\n%s", name, w.LastExit, w.Restarts, g.errors)
	}
}

// startExample starts a gateway with two ports, and one of the programs in examples/ as its worker.
func startExample(t *testing.T, name, settings, from, to string) (g *gateway, source, target *device) {
	t.Helper()
	source, target = plug(t, nil), plug(t, nil)
	folder, err := filepath.Abs("../examples")
	if err != nil {
		t.Fatal(err)
	}
	g = start(t, fmt.Sprintf("ports: {%s: {device: %s}, %s: {device: %s}}\nworkers:\n  %s: {directory: %s, after: [%s, %s], %s}\n",
		from, source.Path(), to, target.Path(), name, folder, from, to, settings))
	g.awaitWorker(t, name, ipc.WorkerRunning)
	return g, source, target
}

func TestExampleAlarm(t *testing.T) {
	g, gps, lamp := startExample(t, "alarm", fmt.Sprintf(`
    command: [%s, -watch, gps, -on, 'GGA,[^,]*,[^,]*,[^,]*,[^,]*,[^,]*,0,', -off, 'GGA,', -to, lamp],
    role: send, notify: true, watchdog: 400ms`, filepath.Join(programs, "alarm")), "gps", "lamp")
	lost, found := "$GPGGA,140307.33,,,,,0,00,,,M,,M,,*5E\n", "$GPGGA,140308.33,5332.5337,N,00958.9904,E,1,08,0.9,12.3,M,46.9,M,,*5E\n"
	gps.say(t, lost+lost)
	lamp.hears(t, "ON\n")
	gps.say(t, "$GPRMC,140308.33\n"+found+found+lost)
	lamp.hears(t, "ON\nOFF\nON\n")
	if w := g.awaitWorker(t, "alarm", ipc.WorkerRunning); w.Message != "ON" {
		t.Errorf("it says of itself %q", w.Message)
	}
	// It is alive although nothing comes.
	waitUntil(t, "it has run for twice the watchdog's time", func() bool {
		return time.Since(g.awaitWorker(t, "alarm", ipc.WorkerRunning).Since) > 800*time.Millisecond
	})
	g.ends(t, "alarm")
	if text := g.errors.String(); strings.Count(text, "port lamp: O") != 3 {
		t.Errorf("the log is %s", text)
	}
}

func TestExampleAverage(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("NOT TESTED whether examples/average.py works: apt-get install python3")
	}
	g, sensor, display := startExample(t, "average", "command: [python3, ./average.py], role: send, ports: [sensor, display], stdio: true", "sensor", "display")
	sensor.say(t, "1\n2\n")
	display.say(t, "ready\n")
	display.hears(t, "1.00\n1.50\n")
	sensor.say(t, "x\n6\n")
	display.hears(t, "1.00\n1.50\n3.00\n")
	waitUntil(t, "what is no number is in the log", func() bool { return strings.Contains(g.errors.String(), "not a number: 'x'") })
}

func TestExampleRelay(t *testing.T) {
	if _, err := exec.LookPath("nats"); err != nil {
		t.Skip("NOT TESTED whether examples/relay.sh works: go install github.com/nats-io/natscli/nats@latest")
	}
	_, gps, display := startExample(t, "relay", "command: [./relay.sh, gps, display], role: send", "gps", "display")
	// It does not tell when it listens.
	waitUntil(t, "a line is relayed", func() bool {
		gps.say(t, "{{a}} 'line' $HOME\n")
		for range 20 {
			if display.has("> {{a}} 'line' $HOME\n") {
				return true
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	})
}

// What docs/workers.md shows of a config is right.
func TestDocumentedConfig(t *testing.T) {
	text, err := os.ReadFile("../docs/workers.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 2 {
		t.Fatalf("there are %d only", len(blocks))
	}
	for _, block := range blocks {
		file := filepath.Join(t.TempDir(), "c.yaml")
		config := string(block[1]) + "ports: {gps: {device: /dev/a}, lamp: {device: /dev/b}, panel: {device: /dev/c}}\n"
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(filepath.Join(programs, "supervisor"), "check", "--config", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", block[1], err, out)
		}
	}
}

// Guards that the example of a line for the shell did nothing with Debian's awk, which reads ahead.
func TestDocumentedFilter(t *testing.T) {
	text, err := os.ReadFile("../docs/workers.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(workers:\n  beep:.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("there is none")
	}
	filters := []string{string(block[1])}
	mawk := regexp.MustCompile("`(mawk -W [^`]*)`").FindSubmatch(text)
	if _, err := exec.LookPath("mawk"); err != nil || mawk == nil {
		t.Log("NOT TESTED with mawk: apt-get install mawk")
	} else {
		filters = append(filters, fmt.Sprintf("workers: {beep: {command: %q, ports: [panel], stdio: true}}\n", mawk[1]))
	}
	for _, filter := range filters {
		panel := plug(t, nil)
		g := start(t, fmt.Sprintf("ports: {panel: {device: %s}}\n%s", panel.Path(), filter))
		g.awaitWorker(t, "beep", ipc.WorkerRunning)
		panel.say(t, "calm\nALARM 7\n")
		panel.hears(t, "BEEP\n")
	}
}
