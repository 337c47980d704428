package supervisor

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

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

	mu   sync.Mutex // guards all below
	list []*order   // oldest first
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

// take is the oldest order, or nil. It is called after news.
func (q *orders) take() *order {
	q.mu.Lock()
	defer q.mu.Unlock()
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
const orderLimit = time.Minute

// handlers are those of all actions.
func (c *custom) handlers() map[string]micro.HandlerFunc {
	all := map[string]micro.HandlerFunc{}
	for _, action := range ipc.WorkerActions {
		all[action] = c.answerOrder(action)
	}
	return all
}

// answerOrder answers only to an inbox, as answerStatus does.
func (c *custom) answerOrder(action string) micro.HandlerFunc {
	return func(r micro.Request) {
		if !strings.HasPrefix(r.Reply(), "_INBOX") {
			return
		}
		var err error
		select {
		case err = <-c.orders.give(action):
		case <-time.After(orderLimit + c.config.StopTimeout):
			err = refuse(ipc.CodeTimeout, "worker %s: it takes long", c.config.Name)
		}
		if err != nil {
			err = r.Error("500", "worker "+c.config.Name+": "+err.Error(), nil)
		} else {
			body, _ := json.Marshal(c.board.workerStatus(c.config.Name)) // of plain data
			err = r.Respond(body)
		}
		if err != nil {
			c.log.Debug("an order was not answered", "worker", c.config.Name, "error", err)
		}
	}
}
