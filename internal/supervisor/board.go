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

// arrange puts ports and workers in the order of a gateway, and takes away what it does not have.
func (b *board) arrange(g *gateway) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ports []ipc.PortStatus
	var workers, own []ipc.WorkerStatus
	keep := func(list *[]ipc.WorkerStatus, name string) {
		// The last one: one that begins anew was added behind its predecessor.
		for _, w := range slices.Backward(b.workers) {
			if w.Name == name {
				*list = append(*list, w)
				return
			}
		}
	}
	for _, p := range g.ports {
		for _, s := range slices.Backward(b.ports) {
			if s.Name == p.config.Name {
				ports = append(ports, s)
				break
			}
		}
		keep(&workers, readerOf(p.config.Name))
		keep(&workers, writerOf(p.config.Name))
	}
	for _, c := range g.workers {
		keep(&own, c.config.Name)
	}
	b.ports, b.workers = ports, append(workers, own...)
	b.tell()
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
	for i := range b.ports {
		if b.ports[i].Name == name {
			change(&b.ports[i])
		}
	}
	b.tell()
}

// worker changes what is noted of a worker.
func (b *board) worker(name string, change func(*ipc.WorkerStatus)) {
	b.workerQuietly(name, func(s *ipc.WorkerStatus) {
		change(s)
		b.tell()
	})
}

// workerQuietly is worker for what nobody waits for.
func (b *board) workerQuietly(name string, change func(*ipc.WorkerStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.workers {
		if b.workers[i].Name == name {
			change(&b.workers[i])
		}
	}
}

// workerStatus is what is noted of a worker.
func (b *board) workerStatus(name string) (s ipc.WorkerStatus) {
	b.workerQuietly(name, func(noted *ipc.WorkerStatus) { s = *noted })
	return s
}

// isOpen says whether a port is open.
func (b *board) isOpen(name string) bool { return len(b.notOpen([]string{name})) == 0 }

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
