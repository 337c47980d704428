package supervisor

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// order has a worker started, stopped or restarted.
type order struct {
	action string       // ipc.StartWorker and its like
	done   []chan error // each takes one value, when the order is followed
}

func (o *order) answer(err error) {
	for _, done := range o.done {
		done <- err
	}
}

// orders wait for the one who follows them.
type orders struct {
	news chan struct{} // holds a value while there are any

	mu     sync.Mutex     // guards all below
	list   []*order       // oldest first
	config *config.Worker // to go on with; nil: as before
}

// adopt has the worker go on with another config, of which its process notices nothing.
func (q *orders) adopt(w config.Worker) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.config = &w
	q.tell()
}

func newOrders() *orders { return &orders{news: make(chan struct{}, 1)} }

// give gives an order. Those of one kind that follow each other are one, so that a hundred restarts at once are few.
func (q *orders) give(action string) (done <-chan error) {
	d := make(chan error, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.list); n > 0 && q.list[n-1].action == action {
		q.list[n-1].done = append(q.list[n-1].done, d)
	} else {
		q.list = append(q.list, &order{action, []chan error{d}})
	}
	q.tell()
	return d
}

// take is the oldest order, or nil. It is called after news. A new config is put in place of the old one.
func (q *orders) take(old *config.Worker) *order {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.config != nil {
		*old, q.config = *q.config, nil
	}
	if len(q.list) == 0 {
		return nil
	}
	o := q.list[0]
	q.list = q.list[1:]
	if len(q.list) > 0 {
		q.tell()
	}
	return o
}

func (q *orders) tell() {
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// orderLimit is how long an order may take to be followed; a worker may take its stop_timeout over ending.
const orderLimit = 10 * time.Minute

// answerOrder answers a request that has the worker started, stopped or restarted.
func (c *custom) answerOrder(action string) micro.HandlerFunc {
	name := c.config.Name // all else of it may change
	return func(r micro.Request) {
		var err error
		if c.passing() {
			err = errUpgrading
		} else {
			select {
			case err = <-c.orders.give(action):
			case <-time.After(orderLimit):
				err = refuse(ipc.CodeTimeout, "it takes long")
			}
		}
		if err != nil {
			err = r.Error("500", "worker "+name+": "+err.Error(), nil)
		} else {
			body, _ := json.Marshal(c.board.workerStatus(name)) // of plain data
			err = r.Respond(body)
		}
		if err != nil {
			c.log.Debug("an order was not answered", "worker", name, "error", err)
		}
	}
}
