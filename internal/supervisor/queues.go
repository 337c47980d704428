package supervisor

import (
	"context"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// queues knows how many frames wait in the ports' queues, and how much the history holds. The store is asked aside, as it
// answers late or never when the disk hangs, and nobody who only wants to know waits for it long.
type queues struct {
	broker *broker.Broker

	mu      sync.Mutex            // guards all below
	waiting map[string]uint64     // as the store said last, by port; those without any are missing
	history broker.HistoryFigures // the same
	asking  chan struct{}         // closed when the question under way is answered; nil: there is none
}

// askLimit is how long the store may take to answer.
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
		q.read()
		q.mu.Lock()
		defer q.mu.Unlock()
		q.asking = nil
	}()
	return done
}

// read asks the store. Of what it does not say, what it said before stands.
func (q *queues) read() {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	waiting, errWaiting := q.broker.Backlog(ctx)
	history, errHistory := q.broker.HistoryFigures(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	if errWaiting == nil {
		q.waiting = waiting
	}
	if errHistory == nil {
		q.history = history
	}
}

// known is what the store said last. The map is not to be changed.
func (q *queues) known() (waiting map[string]uint64, history broker.HistoryFigures) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.history
}
