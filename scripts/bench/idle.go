package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

var (
	idleFor   = flag.Duration("idle", 30*time.Second, "how long ports are watched that have nothing to do, for -only idle")
	idlePorts = flag.Int("idle-ports", 256, "how many they are")
)

const (
	// startLimit is how long all of them may take until they are given up.
	startLimit = 2 * time.Minute
	// calm is how long they are left alone before they are watched.
	calm = 5 * time.Second
)

// benchIdle measures how long many ports take to start, and what they cost while they have nothing to do.
func benchIdle() error {
	return inRounds(fmt.Sprintf("%d idle ports", *idlePorts), measureIdle)
}

func measureIdle(t *table) error {
	r, err := newRun()
	if err != nil {
		return err
	}
	defer r.stop()
	devices, err := openCrowd(*idlePorts)
	if err != nil {
		return err
	}
	defer devices.close()
	config := "name: bench\nbroker: {listen: 127.0.0.1:0}\nmetrics: {listen: 127.0.0.1:0}\nports:\n" + devices.ports()
	path := filepath.Join(r.dir, "c.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	begun := time.Now()
	if err := r.command(nil, "bin/supervisor", "run", "--config", path, "--state-dir", r.state()); err != nil {
		return err
	}
	s, err := r.awaitAll(begun)
	if err != nil {
		return err
	}
	t.atMost(fmt.Sprintf("start until %d ports are open and %d workers run", len(s.Ports), len(s.Workers)), time.Since(begun).Seconds(), 10, " s")
	starting := ranSoFar(s)
	t.note("CPU until then, of the supervisor", starting.supervisor, " s")
	t.note("of the workers", starting.workers, " s")

	time.Sleep(calm)
	before, begun := ranSoFar(s), time.Now()
	time.Sleep(*idleFor)
	cores := ranSoFar(s).since(before, time.Since(begun).Seconds())
	t.atMost(fmt.Sprintf("idle: CPU of all together, in %s", *idleFor), 100*(cores.supervisor+cores.workers), 2, " % of a core")
	t.note("of the supervisor", 100*cores.supervisor, " % of a core")
	t.note("of all workers", 100*cores.workers, " % of a core")
	workerMemory(t, s)
	return measureScrapes(t, s)
}

const (
	scrapes = 200
	// scrapeLimit is what it may cost to ask for the figures of a port and its workers.
	scrapeLimit = 5.0 / 64 // ms
)

// measureScrapes measures what it costs the supervisor to be asked for its metrics.
func measureScrapes(t *table, s ipc.Status) error {
	var took []float64
	before := ranOf(s.PID)
	for range scrapes {
		begun := time.Now()
		answer, err := http.Get(s.MetricsURL + "/metrics")
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
		took = append(took, time.Since(begun).Seconds()*1000)
		if n := strings.Count(string(text), "serialvisor_worker_cpu_seconds_total{"); n != len(s.Workers) {
			return fmt.Errorf("%s/metrics has %d of %d workers", s.MetricsURL, n, len(s.Workers))
		}
	}
	t.atMost("CPU of the supervisor for one answer of /metrics", (ranOf(s.PID)-before)/scrapes*1000, scrapeLimit*float64(len(s.Ports)), " ms")
	t.note("which comes after, median", median(took), " ms")
	return nil
}

// awaitAll waits until all ports are open and all workers run.
func (r *run) awaitAll(begun time.Time) (s ipc.Status, err error) {
	nc, err := r.connect(ipc.RoleTap)
	for err != nil && time.Since(begun) < startLimit {
		time.Sleep(5 * time.Millisecond)
		nc, err = r.connect(ipc.RoleTap)
	}
	if err != nil {
		return s, err
	}
	defer nc.Close()
	for {
		m, err := nc.Request(ipc.Subjects{Root: ipc.DefaultRoot}.Status(), nil, startLimit)
		if err == nil {
			err = json.Unmarshal(m.Data, &s)
		}
		open, running := 0, 0
		for _, p := range s.Ports {
			if p.State == ipc.Open {
				open++
			}
		}
		for _, w := range s.Workers {
			if w.State == ipc.WorkerRunning {
				running++
			}
		}
		switch {
		case err == nil && s.Ready && open == *idlePorts && running == 2*(*idlePorts):
			return s, nil
		case time.Since(begun) > startLimit:
			return s, errors.Join(err, fmt.Errorf("after %s %d ports are open and %d workers run", startLimit, open, running))
		}
		time.Sleep(100 * time.Millisecond)
	}
}
