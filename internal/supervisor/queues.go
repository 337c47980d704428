package supervisor

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// queues knows how many frames wait in the ports' queues. The store is asked aside, as it answers late or never when the
// disk hangs, and nobody who only wants to know waits for it long.
type queues struct {
	broker *broker.Broker
	ports  []string

	mu      sync.Mutex        // guards all below
	waiting map[string]uint64 // as the store said last, by port
	asking  chan struct{}     // closed when the question under way is answered; nil: there is none
}

// askLimit is how long the store may take to answer for all ports.
const askLimit = time.Second

// ask has the store asked, unless it is being asked, and returns a channel that is closed when it has answered or will not.
func (q *queues) ask() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asking != nil {
		return q.asking
	}
	done := make(chan struct{})
	if state, _ := q.broker.Store(); state == ipc.StoreFailed {
		close(done) // to no avail
		return done
	}
	q.asking = done
	go func() { // ends after askLimit, or when the store was mended
		defer close(done)
		waiting := q.read()
		q.mu.Lock()
		defer q.mu.Unlock()
		maps.Copy(q.waiting, waiting)
		q.asking = nil
	}()
	return done
}

func (q *queues) read() map[string]uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	waiting := map[string]uint64{}
	for _, port := range q.ports {
		if n, err := q.broker.Queued(ctx, port); err == nil {
			waiting[port] = n
		}
	}
	return waiting
}

// known is what the store said last. A port that it has not answered for has nothing waiting.
func (q *queues) known() map[string]uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.waiting)
}
