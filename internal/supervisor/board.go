package supervisor

import (
	"slices"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// board is where ports and workers note what became of them, and from where status is read: neither waits for the other.
type board struct {
	mu      sync.Mutex // guards all below
	ports   []ipc.PortStatus
	workers []ipc.WorkerStatus
}

// addPort makes room for a port and its two workers.
func (b *board) addPort(s ipc.PortStatus, started time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ports = append(b.ports, s)
	for _, name := range []string{readerOf(s.Name), writerOf(s.Name)} {
		b.workers = append(b.workers, ipc.WorkerStatus{Name: name, State: ipc.WorkerStopped, Since: started})
	}
}

// port changes what is noted of a port.
func (b *board) port(name string, change func(*ipc.PortStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.ports, func(s ipc.PortStatus) bool { return s.Name == name })
	change(&b.ports[i])
}

// worker changes what is noted of a worker.
func (b *board) worker(name string, change func(*ipc.WorkerStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.workers, func(s ipc.WorkerStatus) bool { return s.Name == name })
	change(&b.workers[i])
}

// read copies the board.
func (b *board) read() ([]ipc.PortStatus, []ipc.WorkerStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ports), slices.Clone(b.workers)
}

func readerOf(port string) string { return port + "/reader" }
func writerOf(port string) string { return port + "/writer" }
