package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// readyLimit is how long a port waits for its workers before it is called open without them.
const readyLimit = 2 * time.Second

// session has reader and writer run on an open device, until it is gone or ctx ends. It owns the device, and gives it back
// in the end unless the session outlasts the supervisor.
func (p *port) session(ctx context.Context, device *serialio.Port, id string) {
	gone, err := p.hangups.Watch(device.Keeper())
	if err != nil {
		p.lasting.Store(false)
		p.close(device)()
		if ctx.Err() == nil { // else the watcher may have ended before
			p.enter(ipc.Failed, "", withRemedy(err).Error())
		}
		return
	}
	open, ended := context.WithCancel(ctx)
	defer ended()
	p.lasting.Store(true)

	// Workers end with their own context, after the state has been told: they need the broker to finish.
	workers, stop := context.WithCancel(context.Background())
	defer stop()
	var group errgroup.Group
	var ready sync.WaitGroup
	ready.Add(2)
	told, tell := context.WithCancel(context.Background())
	defer tell()
	if p.board.isOpen(p.config.Name) { // the one of the supervisor before
		p.held.Store(&held{device, id, open, device.Line()})
	}
	both := []*builtin{p.reader(id, device), p.writer(id, device)}
	for _, b := range both {
		b.gone = tell
		b.ready = sync.OnceFunc(ready.Done)
		group.Go(func() error { return b.Run(workers) })
	}
	bothReady := make(chan struct{})
	group.Go(func() error {
		defer close(bothReady)
		waitFor(&ready, workers.Done(), readyLimit)
		return nil
	})

	for over := false; !over; {
		select {
		case <-bothReady:
			bothReady = nil
			p.held.Store(&held{device, id, open, device.Line()})
			p.enter(ipc.Open, id, "")
			continue
		case <-gone:
		case <-told.Done():
		case <-ctx.Done():
		}
		over = true
	}
	ended()
	if ctx.Err() == nil {
		// Our descriptors go first. A worker that is being started gets none.
		wait := p.close(device)
		p.enter(ipc.Missing, "", fmt.Sprintf("%s: %v", p.deviceName(), serialio.ErrHangup))
		for _, b := range both {
			b.hurry.Store(true)
		}
		stop()
		_ = group.Wait() // builtin.Run returns nil
		p.lasting.Store(false)
		p.drain(id)
		wait()
		return
	}
	halted := errors.Is(context.Cause(ctx), errHalted)
	for _, b := range both {
		b.passing.Store(p.handover.upgrading.Load() && !halted)
	}
	stop()
	_ = group.Wait()
	if p.handover.lasting() && !halted {
		p.idle, p.idleSession = device, id // the next supervisor goes on with it
		return
	}
	p.end(device, id)
}

// end publishes what is left of a session whose device is still there, and gives the device back.
func (p *port) end(device *serialio.Port, session string) {
	p.lasting.Store(false)
	p.drain(session)
	p.close(device)()
}

// letGo ends the session that was to go on with the next supervisor.
func (p *port) letGo() {
	p.end(p.idle, p.idleSession)
	p.idle = nil
	p.enter(ipc.Closed, "", "")
}

// waitFor waits for a group, at most for so long or until stop.
func waitFor(group *sync.WaitGroup, stop <-chan struct{}, limit time.Duration) {
	done := make(chan struct{})
	go func() { // ends with the group, of which each member is done sooner or later
		group.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-stop:
	case <-timer.C:
	}
}

// drains is how often a reader is started to publish what a session has left.
const drains = 3

// drain publishes what was received in a session, where the reader was killed in the moment in which the session ended. It
// is a reader like any other, whose device has nothing more to say. What the history does not take then is counted. When the
// supervisor stops there is not much time for it.
func (p *port) drain(session string) {
	if session == "" {
		return
	}
	defer p.giveUp()
	for range drains {
		select {
		case <-p.late:
			return
		default:
		}
		if state, _ := p.broker.Store(); state != ipc.StoreOK || !p.memory.pending() {
			return
		}
		silent, err := os.OpenFile(os.DevNull, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			p.log.Error("what was received last is not published", "port", p.config.Name, "error", err)
			return
		}
		worker, err := p.launchReader(session, func(use func(uintptr) error) error { return use(silent.Fd()) })
		_ = silent.Close()
		if err != nil {
			p.log.Error("what was received last is not published", "port", p.config.Name, "error", err)
			return
		}
		select {
		case <-worker.Exited:
		case <-p.late:
		case <-time.After(stopTimeout):
		}
		ended := worker.HasExited() || worker.Stop(0)
		_ = worker.socket.Close()
		p.revoke(readerOf(p.config.Name), ended)
	}
}

// giveUp counts the frames of a session that is over and that the history lacks.
func (p *port) giveUp() {
	if p.history == "" {
		return
	}
	if n := p.memory.ring.GiveUp(); n > 0 {
		p.log.Warn("frames were received last that the history did not take", "port", p.config.Name, "frames", n)
	}
}

// reader is the reader process of a session.
func (p *port) reader(session string, device *serialio.Port) *builtin {
	return p.builtin(readerOf(p.config.Name), func(context.Context) (*run, error) { return p.launchReader(session, device.LendReader) })
}

func (p *port) launchReader(session string, lend lender) (*run, error) {
	var forward []ipc.Target
	for _, name := range p.config.ForwardTo {
		target := p.broker.Target(name)
		target.Framing = p.txFramings[name]
		forward = append(forward, target)
	}
	grants := p.broker.ReaderGrants(p.config.Name, forward)
	spec := ipc.Spec{Session: session, Forward: forward, Key: p.broker.Secret("forward " + session)}
	return p.launch(readerOf(p.config.Name), p.programs.reader, grants, spec, p.config.Framing, p.memory.rx, lend)
}

// writer is the writer process of a session.
func (p *port) writer(session string, device *serialio.Port) *builtin {
	name := writerOf(p.config.Name)
	var settled time.Time
	if p.config.Settle > 0 {
		settled = time.Now().Add(p.config.Settle)
	}
	queue := p.broker.Target(p.config.Name)
	b := p.builtin(name, func(ctx context.Context) (*run, error) {
		select {
		case <-p.renew: // as is about to happen
		default:
		}
		// What the predecessor had in its hands comes first.
		if err := p.expiry.between(ctx, p, func() error { return p.rewind(ctx) }); err != nil {
			return nil, err
		}
		grants := p.broker.WriterGrants(queue)
		spec := ipc.Spec{Session: session, Queue: &queue, NotBefore: settled}
		writer, err := p.launch(name, p.programs.writer, grants, spec, p.config.TxFraming, p.memory.tx, device.LendWriter)
		if err != nil {
			p.writing.Store(false)
		}
		return writer, err
	})
	b.renew = p.renew
	revoke := b.revoke
	b.revoke = func(dead bool) {
		revoke(dead)
		p.writing.Store(false) // what it has told so far is all
	}
	return b
}

// rewind has the queue begin with the first frame that was not taken out of it. Of those that were written and are in it
// still the port's memory knows, or for a queue that it has not seen before, the history.
func (p *port) rewind(ctx context.Context) error {
	if err := p.broker.TakeOutTold(ctx, p.config.Name); err != nil && ctx.Err() == nil {
		p.log.Warn("a frame that was sent may be told twice", "port", p.config.Name, "error", err)
	}
	queue, err := p.broker.RewindQueue(ctx, p.config.Name)
	if err != nil || queue == p.memory.ring.Source() {
		return err
	}
	written, err := p.broker.Written(ctx, p.config.Name)
	if err != nil {
		p.log.Warn("a frame that was written before may be written again", "port", p.config.Name, "error", err)
	}
	moved, err := p.broker.Moved(ctx, p.config.Name, p.memory.ring.Source())
	if err != nil {
		p.log.Warn("a frame that was written before may be written again", "port", p.config.Name, "error", err)
	}
	p.memory.ring.Adopt(queue, written, moved)
	return nil
}

func (p *port) builtin(name string, launch func(context.Context) (*run, error)) *builtin {
	return &builtin{
		name: name, board: p.board, log: p.log, turns: p.turns, backoff: backoff{random: rand.Float64}, launch: launch,
		revoke: func(dead bool) { p.revoke(name, dead) }, pass: func(left *waiting) { p.handover.pass(name, left) },
	}
}

func (p *port) revoke(name string, dead bool) {
	if err := p.broker.RevokeWorker(name, dead); err != nil {
		p.log.Warn("a dead worker's credentials may be valid still", "worker", name, "error", err)
	}
}

// lender passes a descriptor of the device, which is valid for as long as the call.
type lender func(use func(fd uintptr) error) error

// launch lets a worker into the broker, with new secrets, and starts its process with a descriptor that lend passes.
func (p *port) launch(name, program string, grants []broker.Grant, spec ipc.Spec, framing frame.Spec, pipe serialio.Pipe, lend lender) (worker *run, err error) {
	spec.Port, spec.History = p.config.Name, p.history
	if spec.Framing, err = json.Marshal(framing); err != nil {
		return nil, fmt.Errorf("port %s: framing: %w", p.config.Name, err)
	}
	if spec.Answers, err = json.Marshal(p.config.Framing); err != nil {
		return nil, fmt.Errorf("port %s: framing: %w", p.config.Name, err)
	}
	p.broker.Grant(grants...)
	if len(grants) > 1 {
		spec.Second = p.broker.Credentials(grants[1])
	}
	env, err := ipc.Environ(name, []string{p.config.Name}, p.broker.Credentials(grants[0]), &spec)
	if err != nil {
		return nil, err
	}
	var sockets []int
	defer func() {
		for _, fd := range sockets {
			_ = unix.Close(fd) // the worker has its own
		}
	}()
	for range grants {
		fd, err := p.broker.Local()
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, fd)
	}
	err = lend(func(device uintptr) error {
		worker, err = launch(p.spawner, p.handover.waiting(name), program, env, lent{device, p.memory.file.Fd(), pipe, p.memory.bell, p.memory.rx, sockets}, newPrinted(p.broker, p.subjects, p.log, name, true))
		return err
	})
	return worker, err
}
