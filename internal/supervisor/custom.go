package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/stdio"
)

// custom is a worker of the user's own. Run's goroutine alone starts and stops its process, so that there are never two.
type custom struct {
	config   config.Worker
	ports    []stdio.Port // that it may have to do with
	subjects ipc.Subjects
	broker   *broker.Broker
	spawner  *process.Spawner
	family   string // what marks the families of this supervisor's workers begin with
	board    *board
	log      *slog.Logger
	backoff  backoff
	orders   *orders
	passing  func() bool // its process is about to be passed on
	unit     unit

	before  *bequest // of the supervisor before; nil: nothing
	adopted *life    // its process; nil: none
	left    *bequest // for the next one; nil: no process

	halting sync.Mutex // held while its process is made to end

	wanted  bool            // it is to run
	rests   ipc.WorkerState // when it is not
	pending *order          // that was followed as far as the end of a process; nil: none
	runs    int
}

// Run keeps the worker as it is wanted until ctx ends, and returns when its process has ended.
func (c *custom) Run(ctx context.Context) error {
	c.wanted = true
	wait := c.goOn(ctx)
	for ctx.Err() == nil {
		changed := c.board.next()
		switch {
		case !c.wanted:
			c.reply(nil)
			c.await(ctx, nil)
		case wait > 0:
			c.backOff(ctx, wait)
			wait = 0
		case !c.othersReady():
			c.reply(nil)
			c.await(ctx, changed)
		default:
			wait = c.live(ctx)
		}
	}
	if c.left == nil && c.wanted {
		c.rest(ipc.WorkerStopped)
	}
	c.reply(errStopping)
	return nil
}

// takeOver goes on with what the supervisor before has left of the worker, before ports start, so that its process misses nothing
// of them. ctx is that of Run, which must be called then.
func (c *custom) takeOver(ctx context.Context) {
	b := c.before
	if b == nil {
		return
	}
	c.runs = b.Runs
	c.note(func(s *ipc.WorkerStatus) { s.Restarts, s.LastExit = b.Restarts, b.LastExit })
	if b.PID == 0 {
		return
	}
	var err error
	if c.adopted, err = c.adopt(ctx, b); err != nil {
		c.log.Warn("worker is started anew", "worker", c.config.Name, "error", err)
	}
}

// goOn is the first life of the worker, or rest, if the supervisor before has left one. It returns how long to wait before it is
// started.
func (c *custom) goOn(ctx context.Context) time.Duration {
	if b := c.before; b != nil && b.Rests != "" {
		c.wanted = false
		c.rest(b.Rests)
	}
	if c.adopted == nil {
		return 0
	}
	return c.see(ctx, c.adopted)
}

var errStopping = errors.New("the supervisor is stopping")

// await waits for an order, which it takes, or an event.
func (c *custom) await(ctx context.Context, event <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-event:
	case <-c.orders.news:
		c.take()
	}
}

// take begins to follow an order while there is no process.
func (c *custom) take() {
	if o := c.orders.take(&c.config); o != nil {
		c.wanted, c.pending = o.action != ipc.StopWorker, o
		c.backoff.deaths = 0
	}
	if !c.wanted {
		c.rest(ipc.WorkerStopped)
	}
}

// reply says that the order under way was followed, or why not.
func (c *custom) reply(err error) {
	if c.pending != nil {
		c.pending.answer(err)
		c.pending = nil
	}
}

// rest notes that there is no process, and none is to be.
func (c *custom) rest(state ipc.WorkerState) {
	c.rests = state
	c.note(func(s *ipc.WorkerStatus) { s.State, s.PID, s.Message = state, 0, "" })
}

func (c *custom) note(change func(*ipc.WorkerStatus)) { c.board.worker(c.config.Name, change) }

// othersReady says whether all that the worker comes after is ready, and notes for what it waits.
func (c *custom) othersReady() bool {
	var missing []string
	for _, name := range c.config.After {
		if !c.board.ready(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return true
	}
	message := "waits for " + strings.Join(missing, ", ")
	c.board.workerQuietly(c.config.Name, func(s *ipc.WorkerStatus) { s.State, s.PID, s.Message = ipc.WorkerStarting, 0, message })
	return false
}

// backOff waits before the worker is started again. It ends at once when a port opens that the worker has to do with or comes
// after: it may have failed for want of it.
func (c *custom) backOff(ctx context.Context, wait time.Duration) {
	c.note(func(s *ipc.WorkerStatus) { s.State, s.PID = ipc.WorkerBackoff, 0 })
	timer := time.NewTimer(wait)
	defer timer.Stop()
	changed := c.board.next()
	for closed := c.closedPorts(); ; {
		select {
		case <-timer.C:
			return
		case <-changed:
		case <-c.orders.news:
			c.take()
			return
		case <-ctx.Done():
			return
		}
		changed = c.board.next()
		still := c.closedPorts()
		if slices.ContainsFunc(closed, func(name string) bool { return !slices.Contains(still, name) }) {
			return
		}
		closed = still
	}
}

// closedPorts lists the ports that the config names for the worker, as its own or to come before it, and that are not open.
func (c *custom) closedPorts() []string {
	return c.board.notOpen(append(slices.Clone(c.config.Ports), c.config.After...))
}

func portNames(ports []stdio.Port) (names []string) {
	for _, p := range ports {
		names = append(names, p.Name)
	}
	return names
}

// live is one life of the worker. It returns how long to wait before the next.
func (c *custom) live(ctx context.Context) time.Duration {
	if c.runs++; c.runs > 1 {
		c.note(func(s *ipc.WorkerStatus) { s.Restarts++ })
	}
	l, err := c.start(ctx)
	c.reply(err)
	if err != nil {
		wait := max(c.backoff.next(0, false), backoffFirst)
		err = withRemedy(err)
		c.log.Error("worker does not start", "worker", c.config.Name, "error", err, "again_in", wait.Round(time.Millisecond))
		c.note(func(s *ipc.WorkerStatus) { s.LastExit, s.PID, s.Message = err.Error(), 0, "" })
		return wait
	}
	return c.see(ctx, l)
}

// see sees to a life to its end. It returns how long to wait before the next.
func (c *custom) see(ctx context.Context, l *life) time.Duration {
	innocent := l.watch(ctx)
	if c.left != nil {
		return 0
	}
	exit := l.end()
	c.note(func(s *ipc.WorkerStatus) { s.LastExit, s.Since, s.PID, s.Message = exit, time.Now(), 0, "" })
	if l.ordered && !c.wanted {
		c.rest(ipc.WorkerStopped)
	}
	failed := l.process.ExitCode() != 0
	log := c.log.With("worker", c.config.Name, "pid", l.process.Pid, "exit", exit)
	switch {
	case ctx.Err() != nil, l.ordered:
		return 0
	case c.config.Restart == config.Never && failed:
		c.wanted = false
		log.Error("worker failed, and is not to be started again")
		c.rest(ipc.WorkerFailed)
		return 0
	case c.config.Restart == config.Never, c.config.Restart == config.OnFailure && !failed:
		c.wanted = false
		log.Info("worker ended")
		c.rest(ipc.WorkerStopped)
		return 0
	}
	wait := c.backoff.next(time.Since(l.process.Started), innocent)
	log.Warn("worker ended, starting it again", "in", wait.Round(time.Millisecond))
	return wait
}
