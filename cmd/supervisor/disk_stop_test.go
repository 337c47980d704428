package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// flood has the device speak as fast as it is read, until the test ends: a pause of the reader, as when the disk has just
// become full, does not end it.
func (g *gateway) flood(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	device := g.device
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(device, "line %d %s\n", n, strings.Repeat(".", 100)); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = device.Close()
		<-done
	})
}

// receives waits until so many more frames are received.
func (g *gateway) receives(t *testing.T, more uint64) {
	t.Helper()
	var first uint64
	g.await(t, "it receives", func(p portNumbers) bool {
		if first == 0 {
			first = p.Rx.Frames
		}
		return first > 0 && p.Rx.Frames >= first+more
	})
}

// wantStop stops a gateway whose history does not store: in time, and with a word on what it lacks.
func (g *gateway) wantStop(t *testing.T) {
	t.Helper()
	g.wantInTime(t)
	g.wantLastLoss(t)
}

func (g *gateway) wantInTime(t *testing.T) {
	t.Helper()
	took := g.stop(t, 0, syscall.SIGTERM)
	t.Logf("it took %s to stop", took.Round(time.Millisecond))
	if took > stopLimit {
		t.Errorf("it took %s to stop, want at most %s\n%s", took, stopLimit, g.errors)
	}
}

func (g *gateway) wantLastLoss(t *testing.T) {
	t.Helper()
	if want := "frames were received last that the history did not take"; strings.Count(g.errors.String(), want) != 1 {
		t.Errorf("the log does not say once that %s:\n%s", want, g.errors)
	}
}

// TestStopOnAFullDisk stops a gateway that receives, while its history does not store: it does not wait for what will not
// be stored, whether the supervisor knows that or not.
func TestStopOnAFullDisk(t *testing.T) {
	t.Run("that was noticed", func(t *testing.T) {
		g, dir := startOnDisk(t)
		nc := g.connect(t, "tap")
		fill(t, dir, 0)
		g.flood(t)
		g.storeState(t, nc, ipc.StoreFull)
		awaitLoss(t, nc, 1000)
		g.wantStop(t)
	})
	t.Run("that is full at once", func(t *testing.T) {
		g, dir := startOnDisk(t)
		fill(t, dir, 64<<10)
		g.flood(t)
		g.receives(t, 2000)
		g.wantStop(t)
	})
}

// TestStopWhileTheDiskHangs ends all that can end: what waits for the disk in the kernel ends with the wait.
func TestStopWhileTheDiskHangs(t *testing.T) {
	g := newPluggedGateway(t)
	dir := g.mountImage(t)
	g.run(t)
	nc := g.connect(t, "tap")
	g.flood(t)
	g.receives(t, 1000)
	thaw := freeze(t, dir)
	g.storeState(t, nc, ipc.StoreFailed)
	awaitLoss(t, nc, 1000)
	begun := time.Now()
	if err := g.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "it has ended, but for what the kernel holds", func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(g.process.Pid), "stat"))
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	})
	took := time.Since(begun)
	t.Logf("it took %s to stop", took.Round(time.Millisecond))
	if took > stopLimit {
		t.Errorf("it took %s to stop, want at most %s\n%s", took, stopLimit, g.errors)
	}
	thaw()
	<-g.ended
	g.wantLastLoss(t)
	if want := "not all could be closed"; !strings.Contains(g.errors.String(), want) {
		t.Errorf("the log does not say that %s:\n%s", want, g.errors)
	}
}
