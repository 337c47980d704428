package supervisor

import (
	"encoding/json"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// desk answers requests for the status. It takes long to put together, so those that wait are answered together, with one that is
// made after the last of them came: who asks without end does not keep others waiting.
type desk struct {
	status func() ipc.Status
	work   chan struct{} // holds a token while somebody waits
	closed chan struct{}
	ended  chan struct{}

	mu      sync.Mutex // guards waiting
	waiting []micro.Request
}

// mostWaiting bounds how many wait at a time.
const mostWaiting = 10_000

// openDesk begins to answer. The returned function ends it.
func openDesk(status func() ipc.Status) (d *desk, stop func()) {
	d = &desk{status: status, work: make(chan struct{}, 1), closed: make(chan struct{}), ended: make(chan struct{})}
	go func() { // stop waits for it
		defer close(d.ended)
		for {
			select {
			case <-d.work:
				d.serve()
			case <-d.closed:
				d.serve() // those who came before
				return
			}
		}
	}()
	return d, func() { close(d.closed); <-d.ended }
}

// answer takes a request in.
func (d *desk) answer(r micro.Request) {
	d.mu.Lock()
	full := len(d.waiting) >= mostWaiting
	if !full {
		d.waiting = append(d.waiting, r)
	}
	d.mu.Unlock()
	if full {
		_ = r.Error(strconv.Itoa(ipc.CodeBusy), "too many ask for the status at a time", nil) // who asks so often misses nothing
		return
	}
	select {
	case d.work <- struct{}{}:
	default:
	}
}

func (d *desk) serve() {
	d.mu.Lock()
	waiting := d.waiting
	d.waiting = nil
	d.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	body, _ := json.Marshal(d.status()) // of plain data
	for _, r := range waiting {
		_ = r.Respond(body) // fails with the connection, and then nobody waits
	}
}
