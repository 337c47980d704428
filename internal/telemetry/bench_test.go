package telemetry

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// fixed is a source that says what it was told.
type fixed struct {
	snapshot Snapshot
	problem  error
}

func (f *fixed) Snapshot() Snapshot { return f.snapshot }
func (f *fixed) Alive() error       { return f.problem }

// BenchmarkScrape has a gateway with 64 ports asked for its figures, apart from the time that it takes to know them: that
// of its workers, which are all one process here, is read.
func BenchmarkScrape(b *testing.B) {
	child := exec.Command("cat")
	hold, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _, _ = hold.Close(), child.Wait() }()
	f := &fixed{snapshot: Snapshot{
		Status: ipc.Status{Version: "1", Ready: true}, QueueLimits: map[string]int64{}, History: &History{},
		Broker: broker.Figures{Accounts: []broker.AccountFigures{{Account: broker.Traffic}, {Account: broker.Control}}},
	}}
	for i := range 64 {
		name := fmt.Sprint("port", i)
		f.snapshot.Status.Ports = append(f.snapshot.Status.Ports, ipc.PortStatus{Name: name, State: ipc.Open, Since: time.Now(), Session: ipc.SessionAt(time.Now())})
		for _, worker := range []string{"/reader", "/writer"} {
			f.snapshot.Status.Workers = append(f.snapshot.Status.Workers, ipc.WorkerStatus{Name: name + worker, State: ipc.WorkerRunning, PID: child.Process.Pid, Since: time.Now()})
		}
		f.snapshot.QueueLimits[name] = 10000
	}
	h := handler(f, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	for b.Loop() {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if r.Code != http.StatusOK {
			b.Fatal(r.Body)
		}
	}
}
