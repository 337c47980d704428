package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// measured has a gateway that does not run yet give figures, and run a worker.
func (g *gateway) measured(t *testing.T) *gateway {
	t.Helper()
	path := filepath.Join(g.dir, "c.yaml")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte("metrics: {listen: 127.0.0.1:0}\nworkers: {own: {command: [sleep, 1000d]}}\n"), text...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// startMeasured starts a gateway with one port that gives figures.
func startMeasured(t *testing.T, settings ...string) *gateway {
	t.Helper()
	g := newPluggedGateway(t, settings...).measured(t)
	g.run(t)
	return g
}

// get asks over HTTP.
func (g *gateway) get(t *testing.T, path string) (code int, body string) {
	t.Helper()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	return get(t, s.MetricsURL+path)
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	client := http.Client{Timeout: patience}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// figures are all that the gateway gives now, by name with labels.
func (g *gateway) figures(t *testing.T) map[string]float64 {
	t.Helper()
	code, body := g.get(t, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics answered %d: %s", code, body)
	}
	figures := map[string]float64{}
	for line := range strings.Lines(body) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			figures[name] = v
		}
	}
	return figures
}

// TestMetrics compares figures with what was done, and with status.
func TestMetrics(t *testing.T) {
	g := startMeasured(t)
	began := time.Now()
	if _, err := g.device.Write([]byte("hello\nworld\n")); err != nil {
		t.Fatal(err)
	}
	g.mustRun(t, nil, "send", "gps", "answer", "--wait")
	g.background(t, "lease", "gps")
	g.await(t, "all is done", func(p portNumbers) bool { return p.Rx.Frames == 2 && p.Tx.Frames == 1 && p.Lease != nil })
	g.mustRun(t, nil, "send", "gps", "waits for the lease")
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the queue is told", func() bool { return g.figures(t)[`serialvisor_port_queued_frames{port="gps"}`] == 1 })
	f := g.figures(t)
	for name, want := range map[string]float64{
		`serialvisor_ready`: 1,
		`serialvisor_port_received_bytes_total{port="gps"}`:                                       12,
		`serialvisor_port_received_frames_total{port="gps"}`:                                      2,
		`serialvisor_port_sent_bytes_total{port="gps"}`:                                           7,
		`serialvisor_port_sent_frames_total{port="gps"}`:                                          1,
		`serialvisor_port_lost_history_frames{port="gps",direction="received"}`:                   0,
		`serialvisor_port_queue_limit_frames{port="gps"}`:                                         10000,
		`serialvisor_port_state{port="gps",state="open"}`:                                         1,
		`serialvisor_port_state{port="gps",state="missing"}`:                                      0,
		`serialvisor_port_leased{port="gps"}`:                                                     1,
		`serialvisor_worker_up{worker="gps/reader"}`:                                              1,
		`serialvisor_worker_up{worker="own"}`:                                                     1,
		`serialvisor_worker_state{worker="gps/writer",state="running"}`:                           1,
		`serialvisor_worker_state{worker="gps/writer",state="failed"}`:                            0,
		`serialvisor_worker_restarts_total{worker="gps/reader"}`:                                  0,
		`serialvisor_store_state{state="ok"}`:                                                     1,
		`serialvisor_history_limit_bytes`:                                                         256 << 20,
		`serialvisor_history_limit_age_seconds`:                                                   24 * 3600,
		`serialvisor_broker_slow_consumers_total`:                                                 0,
		`serialvisor_port_line_errors_total{port="gps",kind="parity"}`:                            0,
		`serialvisor_port_state_timestamp_seconds{port="gps"}`:                                    float64(s.Ports[0].Since.UnixNano()) / 1e9,
		`serialvisor_worker_start_timestamp_seconds{worker="gps/reader"}`:                         float64(s.Workers[0].Since.UnixNano()) / 1e9,
		`serialvisor_build_info{version="` + version + `",goversion="` + runtime.Version() + `"}`: 1,
	} {
		if got, ok := f[name]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
		}
	}
	for name, least := range map[string]float64{
		`serialvisor_worker_resident_memory_bytes{worker="gps/reader"}`: 1 << 20,
		`serialvisor_worker_resident_memory_bytes{worker="own"}`:        100 << 10,
		`serialvisor_history_messages`:                                  4, // open, two received, one sent
		`serialvisor_history_bytes`:                                     100,
		`serialvisor_history_last_timestamp_seconds`:                    float64(began.Unix()),
		`serialvisor_history_first_timestamp_seconds`:                   float64(began.Add(-patience).Unix()),
		`serialvisor_port_session_start_timestamp_seconds{port="gps"}`:  float64(began.Add(-patience).Unix()),
		`serialvisor_broker_connections{account="CONTROL"}`:             2, // the supervisor and the writer
		`serialvisor_broker_subscriptions{account="TRAFFIC"}`:           1,
		`serialvisor_broker_received_messages_total{account="TRAFFIC"}`: 3,
		`serialvisor_broker_received_bytes_total{account="TRAFFIC"}`:    10,
		`serialvisor_broker_sent_messages_total{account="CONTROL"}`:     1,
		`serialvisor_broker_sent_bytes_total{account="CONTROL"}`:        1,
		`process_resident_memory_bytes`:                                 1 << 20,
	} {
		if f[name] < least {
			t.Errorf("%s is %v, want at least %v", name, f[name], least)
		}
	}
	g.killAgainAndAgain(t, "gps/reader", 1)
	waitUntil(t, "the restart is counted", func() bool { return g.figures(t)[`serialvisor_worker_restarts_total{worker="gps/reader"}`] == 1 })
	if code, body := g.get(t, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz answered %d: %s", code, body)
	}
	g.unplug(t)
	g.await(t, "the device is missing", func(p portNumbers) bool { return p.State == ipc.Missing })
	f = g.figures(t)
	if f[`serialvisor_port_state{port="gps",state="missing"}`] != 1 || f[`serialvisor_port_state{port="gps",state="open"}`] != 0 {
		t.Error("the port is missing, and the figures do not say so")
	}
	if _, ok := f[`serialvisor_port_session_start_timestamp_seconds{port="gps"}`]; ok {
		t.Error("a port that is not open has a session")
	}
	if code, body := g.get(t, "/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("with a missing device /readyz answered %d: %s", code, body)
	}
}

// TestNotReady has a gateway without its programs, so that a worker that is killed does not come back.
func TestNotReady(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"supervisor", "reader", "writer"} {
		if err := os.Link(filepath.Join(programs, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	g := newPluggedGateway(t).measured(t)
	g.programs = dir
	g.run(t)
	waitUntil(t, "it is ready", func() bool { code, body := g.get(t, "/readyz"); return code == http.StatusOK && body == "ready\n" })
	if err := os.Rename(filepath.Join(dir, "writer"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	g.killAgainAndAgain(t, "gps/writer", 1)
	waitUntil(t, "it is not ready, and says why", func() bool {
		code, body := g.get(t, "/readyz")
		return code == http.StatusServiceUnavailable && strings.HasPrefix(body, "worker gps/writer is backoff, last exit: ") && strings.Contains(body, "no such file or directory")
	})
	f := g.figures(t)
	if f["serialvisor_ready"] != 0 || f[`serialvisor_worker_up{worker="gps/writer"}`] != 0 || f[`serialvisor_worker_state{worker="gps/writer",state="backoff"}`] != 1 {
		t.Error("the writer does not run, and the figures do not say so")
	}
	if code, body := g.get(t, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answered %d: %s", code, body)
	}
	if err := os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "writer")); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "it is ready again", func() bool { code, _ := g.get(t, "/readyz"); return code == http.StatusOK })
}

// TestMetricsWhileTheDiskHangs asks while every write to the disk hangs: answers come at once, and the store's figures are
// those of before.
func TestMetricsWhileTheDiskHangs(t *testing.T) {
	g := newPluggedGateway(t).measured(t)
	dir := g.mountImage(t)
	g.run(t)
	if _, err := g.device.Write([]byte("before\n")); err != nil {
		t.Fatal(err)
	}
	const messages = "serialvisor_history_messages"
	waitUntil(t, "the history's figures are there", func() bool { return g.figures(t)[messages] == 2 })
	url, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	thaw := freeze(t, dir)
	stop := g.talk(t, 100)
	for failed := false; !failed; {
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			begun := time.Now()
			code, body := get(t, url.MetricsURL+path)
			if took := time.Since(begun); took > statusLimit {
				t.Errorf("%s took %s", path, took)
			}
			switch {
			case path == "/metrics":
				failed = strings.Contains(body, `serialvisor_store_state{state="failed"} 1`)
			case path == "/healthz" && code != http.StatusOK:
				t.Errorf("/healthz answered %d: %s", code, body)
			case path == "/readyz" && failed && (code != http.StatusServiceUnavailable || !strings.HasPrefix(body, "store failed: ")):
				t.Errorf("/readyz answered %d: %s", code, body)
			}
		}
	}
	if f := g.figures(t); f["serialvisor_ready"] != 0 || f[messages] < 2 {
		t.Errorf("ready is %v, and there are %v messages", f["serialvisor_ready"], f[messages])
	}
	thaw()
	stop()
	waitUntil(t, "it is ready again", func() bool { return g.figures(t)["serialvisor_ready"] == 1 })
}
