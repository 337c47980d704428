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
	changed chan struct{} // closed at the next change; nil: nobody waits for it
}

// next is closed when anything on the board changes.
func (b *board) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

// tell ends the wait for a change. mu must be held.
func (b *board) tell() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// addWorker makes room for a worker of the user's own.
func (b *board) addWorker(name string, started time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.workers = append(b.workers, ipc.WorkerStatus{Name: name, State: ipc.WorkerStopped, Since: started})
}

// ready says whether a port is open and its workers run, or a worker runs.
func (b *board) ready(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	runs := func(name string) bool {
		return slices.ContainsFunc(b.workers, func(s ipc.WorkerStatus) bool { return s.Name == name && s.State == ipc.WorkerRunning })
	}
	for _, p := range b.ports {
		if p.Name == name {
			return p.State == ipc.Open && runs(readerOf(name)) && runs(writerOf(name))
		}
	}
	return runs(name)
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
	b.tell()
}

// worker changes what is noted of a worker.
func (b *board) worker(name string, change func(*ipc.WorkerStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.workers, func(s ipc.WorkerStatus) bool { return s.Name == name })
	change(&b.workers[i])
	b.tell()
}

// workerQuietly is worker for what nobody waits for.
func (b *board) workerQuietly(name string, change func(*ipc.WorkerStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.workers, func(s ipc.WorkerStatus) bool { return s.Name == name })
	change(&b.workers[i])
}

// workerStatus is what is noted of a worker.
func (b *board) workerStatus(name string) (s ipc.WorkerStatus) {
	b.workerQuietly(name, func(noted *ipc.WorkerStatus) { s = *noted })
	return s
}

// notOpen lists those of some ports that are not open. Names of others are left out.
func (b *board) notOpen(names []string) (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.ports {
		if p.State != ipc.Open && slices.Contains(names, p.Name) {
			list = append(list, p.Name)
		}
	}
	return list
}

// read copies the board.
func (b *board) read() ([]ipc.PortStatus, []ipc.WorkerStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ports), slices.Clone(b.workers)
}

func readerOf(port string) string { return port + "/reader" }
func writerOf(port string) string { return port + "/writer" }
