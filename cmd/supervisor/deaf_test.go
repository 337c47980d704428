package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// peakMemory is the most that a process has had in memory, in MiB.
func peakMemory(t *testing.T, pid int) (mib int) {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := bytes.Cut(status, []byte("VmHWM:"))
	if _, err := fmt.Sscan(string(peak), &mib); err != nil {
		t.Fatal(err)
	}
	return mib >> 10
}

// deafMemory is how much the supervisor may take for subscribers that do not read, in MiB: 200 to 320 were measured.
const deafMemory = 500

// TestManyDeafSubscribers floods many of them. What waits for all together is bounded, and each is cut off and told so.
func TestManyDeafSubscribers(t *testing.T) {
	if raceDetector {
		t.Skip("NOT TESTED: memory is another with the race detector")
	}
	g := startGateway(t)
	g.flood(t)
	g.receives(t, 100_000)
	before := peakMemory(t, g.process.Pid)
	const subscribers = 20
	for range subscribers {
		g.deafSubscriber(t)
	}
	waitUntil(t, "all are cut off", func() bool { return g.cutOff() == subscribers })
	after := peakMemory(t, g.process.Pid)
	t.Logf("the supervisor took %d MiB at most without, and %d MiB with %d subscribers that do not read", before, after, subscribers)
	if after-before > deafMemory {
		t.Errorf("it took %d MiB more, want at most %d", after-before, deafMemory)
	}
}
