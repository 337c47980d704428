package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// readyLimit is how long a port waits for its workers before it is called open without them.
const readyLimit = 2 * time.Second

// session has reader and writer run on an open device, until it is gone or ctx ends. It owns the device.
func (p *port) session(ctx context.Context, device *serialio.Port) {
	gone, err := p.hangups.Watch(device.Keeper())
	if err != nil {
		p.close(device)()
		if ctx.Err() == nil { // else the watcher may have ended before
			p.enter(ipc.Failed, "", err.Error())
		}
		return
	}
	id := ipc.SessionAt(time.Now())
	p.counters.NewSession()
	open, ended := context.WithCancel(ctx)
	defer ended()

	// Workers end with their own context, after the state has been told: they need the broker to finish.
	workers, stop := context.WithCancel(context.Background())
	defer stop()
	var group errgroup.Group
	var ready sync.WaitGroup
	ready.Add(2)
	told, tell := context.WithCancel(context.Background())
	defer tell()
	for _, b := range []*builtin{p.reader(id, device), p.writer(id, device)} {
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
		stop()
		_ = group.Wait() // builtin.Run returns nil
		wait()
		return
	}
	stop()
	_ = group.Wait()
	p.close(device)()
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

// reader is the reader process of a session.
func (p *port) reader(session string, device *serialio.Port) *builtin {
	name := readerOf(p.config.Name)
	var forward []ipc.Target
	for _, name := range p.config.ForwardTo {
		target := p.broker.Target(name)
		target.Framing = p.txFramings[name]
		forward = append(forward, target)
	}
	return p.builtin(name, func(context.Context) (*process, error) {
		grants := p.broker.ReaderGrants(p.config.Name, forward)
		spec := ipc.Spec{Session: session, Forward: forward}
		return p.launch(name, p.programs.reader, grants, spec, p.config.Framing, device.LendReader)
	})
}

// writer is the writer process of a session.
func (p *port) writer(session string, device *serialio.Port) *builtin {
	name := writerOf(p.config.Name)
	var settled time.Time
	if p.config.Settle > 0 {
		settled = time.Now().Add(p.config.Settle)
	}
	queue := p.broker.Target(p.config.Name)
	return p.builtin(name, func(ctx context.Context) (*process, error) {
		// What the predecessor had in its hands comes first.
		if err := p.broker.RewindQueue(ctx, p.config.Name); err != nil {
			return nil, err
		}
		grants := p.broker.WriterGrants(queue)
		spec := ipc.Spec{Session: session, Queue: &queue, NotBefore: settled}
		return p.launch(name, p.programs.writer, grants, spec, p.config.TxFraming, device.LendWriter)
	})
}

func (p *port) builtin(name string, launch func(context.Context) (*process, error)) *builtin {
	return &builtin{
		name: name, board: p.board, log: p.log, backoff: backoff{random: rand.Float64}, launch: launch,
		revoke: func() {
			if err := p.broker.RevokeWorker(name); err != nil {
				p.log.Warn("a dead worker's credentials may be valid still", "worker", name, "error", err)
			}
		},
	}
}

// launch lets a worker into the broker, with new secrets, and starts its process with a descriptor that lend passes.
func (p *port) launch(name, program string, grants []broker.Grant, spec ipc.Spec, framing frame.Spec, lend func(func(uintptr) error) error) (worker *process, err error) {
	spec.Port, spec.History = p.config.Name, p.history
	if spec.Framing, err = json.Marshal(framing); err != nil {
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
	err = lend(func(device uintptr) error {
		worker, err = launch(p.spawner, program, env, device, p.countersFile.Fd(), p.log.With("worker", name))
		return err
	})
	return worker, err
}
