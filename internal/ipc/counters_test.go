package ipc_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// handOver is a descriptor as a worker would inherit it.
func handOver(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestCountersAreShared(t *testing.T) {
	ours, f, err := ipc.NewCounters("gps")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	theirs, err := ipc.OpenCounters(handOver(t, f))
	if err != nil {
		t.Fatal(err)
	}
	theirs.RxBytes.Add(5)
	theirs.RxRead.Add(5)
	theirs.RxDone.Add(3)
	theirs.TxExpired.Add(7)
	if ours.RxBytes.Load() != 5 || ours.RxRead.Load() != 5 || ours.RxDone.Load() != 3 || ours.TxExpired.Load() != 7 {
		t.Errorf("a worker counted 5, 5, 3, 7; the supervisor sees %d, %d, %d, %d",
			ours.RxBytes.Load(), ours.RxRead.Load(), ours.RxDone.Load(), ours.TxExpired.Load())
	}
	ours.NewSession()
	if theirs.RxRead.Load() != 0 || theirs.RxDone.Load() != 0 || theirs.RxBytes.Load() != 5 {
		t.Error("a new session must reset the session's counters and no other")
	}
}

func TestCountersOfAnotherVersion(t *testing.T) {
	short, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = short.Close() }()
	check := func(what string) {
		t.Helper()
		_, err := ipc.OpenCounters(handOver(t, short))
		if err == nil || !strings.Contains(err.Error(), "different versions") {
			t.Errorf("%s: %v, want an error about different versions", what, err)
		}
	}
	check("an empty file")
	if err := short.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	check("a file without the magic")
}
