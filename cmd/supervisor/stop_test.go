package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stopLimit is how long a supervisor may take to end.
const stopLimit = 5 * time.Second

// stop sends signals, each when the one before has had an effect, and returns how long the program takes from the last
// one on to end with an exit code.
func (p *program) stop(t *testing.T, code int, signals ...syscall.Signal) time.Duration {
	t.Helper()
	for i, signal := range signals {
		if i > 0 {
			waitUntil(t, "it has begun to stop", func() bool { return strings.Contains(p.errors.String(), "msg=stopping") })
		}
		if err := p.process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("it did not end in %s:\n%s", patience, p.errors)
	}
	took := time.Since(begun)
	var exit *exec.ExitError
	if got := errors.As(p.err, &exit); got != (code != 0) || got && exit.ExitCode() != code {
		t.Errorf("it ended with %v, want exit code %d\n%s", p.err, code, p.errors)
	}
	return took
}

// record is what tap prints with --json, as far as it matters here.
type record struct {
	Direction string `json:"direction"`
	ID        string `json:"id"`
	Offset    uint64 `json:"offset"`
	Data      []byte `json:"data"`
}

// TestStopUnderTraffic stops a gateway that receives as fast as it can: in time, with exit code 0, and with a history
// that has no hole.
func TestStopUnderTraffic(t *testing.T) {
	g := startGateway(t)
	said := make(chan struct{})
	go func() { // ends when nobody reads any more
		defer close(said)
		for n := 0; ; n++ {
			_ = g.device.SetDeadline(time.Now().Add(time.Second))
			if _, err := fmt.Fprintf(g.device, "line %d\n", n); err != nil {
				return
			}
		}
	}()
	g.await(t, "it receives", func(p portNumbers) bool { return p.Rx.Frames > 1000 })
	if took := g.stop(t, 0, syscall.SIGTERM); took > stopLimit {
		t.Errorf("it took %s to stop, want at most %s", took, stopLimit)
	}
	<-said
	g.run(t)
	g.mustRun(t, []byte("marker"), "send", "gps", "-", "--wait")
	tap := g.tap(t, "gps", "--json", "--since", "1h")
	waitUntil(t, "the tap has everything", func() bool { return strings.Contains(tap.String(), `"direction":"sent"`) })
	session, end, count := "", uint64(0), 0
	for line := range strings.Lines(tap.String()) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Direction != "rx" {
			continue
		}
		of := strings.Split(r.ID, ".")[1]
		if session == "" {
			session = of
		}
		if of != session {
			break // of the second start
		}
		if want := fmt.Sprintf("line %d", count); r.Offset != end || !strings.HasPrefix(want, string(r.Data)) {
			t.Fatalf("at offset %d stands %q, want %q at %d", r.Offset, r.Data, want, end)
		}
		end += uint64(len(r.Data)) + 1
		count++
	}
	if count < 1000 {
		t.Errorf("the history has %d lines, want more than 1000", count)
	}
}

// What was written before the stop comes to a device that takes its time to read it.
func TestStopLosesNoOutput(t *testing.T) {
	g := startGateway(t)
	nc := g.connect(t, "send")
	var all strings.Builder
	for n := range 64 { // more than a pty holds
		frame := fmt.Sprintf("%03d%s", n, strings.Repeat("x", 996))
		queueFrame(t, nc, frame, "")
		all.WriteString(frame + "\n")
	}
	var written uint64
	g.await(t, "the pty is full", func(p portNumbers) bool {
		full := p.Tx.Bytes > 5000 && p.Tx.Bytes == written
		written = p.Tx.Bytes
		return full
	})
	if took := g.stop(t, 0, syscall.SIGTERM); took > stopLimit {
		t.Errorf("it took %s to stop, want at most %s", took, stopLimit)
	}
	_ = g.device.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, written)
	if n, err := io.ReadFull(g.device, got); err != nil || string(got) != all.String()[:written] {
		t.Errorf("the device has got %d of %d bytes, or others: %v", n, len(got), err)
	}
}

// A device that never reads holds a frame up; the supervisor ends in time all the same, and keeps the frame.
func TestStopWithAStuckDevice(t *testing.T) {
	g := startGateway(t, "framing: {type: raw, max_bytes: 1000000}")
	g.beginFrame(t)
	if took := g.stop(t, 0, syscall.SIGINT); took > stopLimit {
		t.Errorf("it took %s to stop, want at most %s", took, stopLimit)
	}
	// Guards that this was an error, "interrupted", which did not say that the frame is safe.
	if said := g.errors.String(); strings.Contains(said, "level=ERROR") || !strings.Contains(said, "which stays queued") {
		t.Errorf("the log says %s", said)
	}
	g.run(t)
	g.await(t, "the frame is still queued", func(p portNumbers) bool { return p.Tx.Queued == 1 })
}

// beginFrame queues a frame that the pty does not hold, and waits until the writer is at it.
func (g *gateway) beginFrame(t *testing.T) {
	t.Helper()
	g.mustRun(t, make([]byte, 500_000), "send", "gps", "-")
	g.await(t, "the writer is at the frame", func(p portNumbers) bool { return p.Tx.Bytes > 0 })
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	g := startGateway(t, "framing: {type: raw, max_bytes: 1000000}")
	g.beginFrame(t)
	status, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	if took := g.stop(t, 1, syscall.SIGTERM, syscall.SIGTERM); took > time.Second {
		t.Errorf("it took %s after the second signal, want no wait", took)
	}
	for _, w := range status.Workers {
		waitUntil(t, w.Name+" is gone", func() bool {
			_, err := os.Stat(fmt.Sprintf("/proc/%d", w.PID))
			return errors.Is(err, os.ErrNotExist)
		})
	}
}
