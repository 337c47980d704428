package supervisor

import (
	"slices"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// A supervisor that hangs says so while it still can.
func TestNotAlive(t *testing.T) {
	s := &Supervisor{}
	then := time.Now().Add(-time.Minute)
	s.round.Store(&then)
	const want = "the supervisor has not looked at its ports for 1m0s"
	if err := s.Alive(); err == nil || err.Error() != want {
		t.Errorf("said %v, want %s", err, want)
	}
}

// Each reason is named; a device that is away is none.
func TestNotReady(t *testing.T) {
	s := ipc.Status{
		Broker: ipc.BrokerStatus{Store: ipc.StoreFull, StoreError: "no space left on device"},
		Ports:  []ipc.PortStatus{{Name: "gps", State: ipc.Open}, {Name: "away", State: ipc.Missing}, {Name: "new", State: ipc.Closed}},
		Workers: []ipc.WorkerStatus{
			{Name: "gps/reader", State: ipc.WorkerBackoff, LastExit: "exit 1"}, {Name: "gps/writer", State: ipc.WorkerRunning},
			{Name: "away/reader", State: ipc.WorkerStopped}, {Name: "away/writer", State: ipc.WorkerStopped},
			{Name: "once", State: ipc.WorkerStopped}, {Name: "told", State: ipc.WorkerStopping}, {Name: "waits", State: ipc.WorkerStarting},
			{Name: "hangs", State: ipc.WorkerStarting, PID: 7}, {Name: "broken", State: ipc.WorkerFailed, LastExit: "exit 3"},
		},
	}
	want := []string{"store full: no space left on device", "port new is closed", "worker gps/reader is backoff, last exit: exit 1",
		"worker hangs is starting", "worker broken is failed, last exit: exit 3"}
	if got := notReady(s); !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
}
