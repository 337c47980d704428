package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// gateway is what a config makes: its ports and workers, in its order. It does not change; a reload puts another in its place.
type gateway struct {
	config  *config.Config
	ports   []*port
	workers []*custom
}

// port is one of the ports, or nil.
func (g *gateway) port(name string) *port {
	for _, p := range g.ports {
		if p.config.Name == name {
			return p
		}
	}
	return nil
}

// worker is one of the workers of the user's own, or nil.
func (g *gateway) worker(name string) *custom {
	for _, c := range g.workers {
		if c.config.Name == name {
			return c
		}
	}
	return nil
}

// unit is what runs of a port or worker.
type unit struct {
	halt func()
	over chan struct{} // closed when it has ended
}

// errHalted ends a unit while the supervisor goes on.
var errHalted = errors.New("it was stopped")

// start has something run until ctx ends or it is halted.
func start(ctx context.Context, all *sync.WaitGroup, run func(context.Context)) unit {
	ctx, end := context.WithCancelCause(ctx)
	u := unit{func() { end(errHalted) }, make(chan struct{})}
	all.Go(func() {
		defer close(u.over)
		run(ctx)
	})
	return u
}

// stop halts it and waits for its end.
func (u unit) stop() {
	u.halt()
	<-u.over
}

// preparePort makes a port, without touching its device. It goes on with memory, if that is not nil.
func (s *Supervisor) preparePort(c config.Port, ports []config.Port, memory *memory) (_ *port, err error) {
	txFramings := map[string]string{}
	for _, other := range ports {
		txFramings[other.Name] = other.TxFraming.Type
	}
	if memory == nil {
		if memory, err = s.handover.memory(c); err != nil {
			return nil, fmt.Errorf("port %s: %w", c.Name, err)
		}
	}
	if err := s.broker.OfferPort(c.Name); err != nil {
		return nil, fmt.Errorf("port %s: %w", c.Name, err)
	}
	framing, err := json.Marshal(c.Framing)
	if err != nil {
		return nil, fmt.Errorf("port %s: framing: %w", c.Name, err)
	}
	p := &port{
		config: c, subjects: s.subjects, txFramings: txFramings, history: s.broker.HistoryStream(), broker: s.broker, spawner: s.spawner, turns: s.turns, hangups: s.hangups,
		programs: s.programs, board: s.board, log: s.log, handover: s.handover, memory: memory, line: newLine(), wake: make(chan struct{}, 1),
		renew: make(chan struct{}, 1), late: s.late.Done(), expiry: s.expiry,
		lease: &lease{port: c.Name, ring: memory.ring, broker: s.broker, news: s.subjects.Leased(c.Name), log: s.log},
	}
	memory.ring.SetLasting(s.handover.lasting())
	p.idle, p.idleSession = s.handover.device(c, memory)
	status := ipc.PortStatus{Name: c.Name, Device: p.deviceName(), State: ipc.Closed, Line: c.Settings.Line.String(), Framing: framing}
	if p.idle != nil { // it has never been anything but open
		p.device = p.idle.Handover().Device
		status.Device, status.State, status.Session, status.Since = p.device, ipc.Open, p.idleSession, s.started
		status.Line, status.LowLatency = p.idle.Line().String(), p.idle.LowLatency()
	}
	s.board.addPort(status, s.started)
	p.lasting.Store(p.idle != nil)
	p.lease.resume()
	return p, nil
}

// startPort has a port run until ctx ends or it is stopped.
func (s *Supervisor) startPort(ctx context.Context, p *port) {
	p.unit = start(ctx, &s.portsRun, func(ctx context.Context) {
		var both sync.WaitGroup
		both.Go(func() { _ = p.line.Run(ctx) }) // they return nil
		both.Go(func() { _ = p.Run(ctx) })
		both.Wait()
	})
}

// startWorker has a worker of the user's own run until ctx ends or it is stopped.
func (s *Supervisor) startWorker(ctx context.Context, c *custom) {
	c.unit = start(ctx, &s.workersRun, func(ctx context.Context) { _ = c.Run(ctx) }) // it returns nil
}

// queuesOf is what the broker has to keep for ports.
func queuesOf(ports []config.Port) (list []broker.Queue) {
	for _, p := range ports {
		list = append(list, broker.Queue{
			Port: p.Name, Off: p.Queue.Storage == config.None, MaxFrame: p.TxFraming.MaxBytes,
			Limits: broker.Limits{Memory: p.Queue.Storage == config.Memory, MaxMessages: p.Queue.MaxMessages, MaxAge: p.Queue.MaxAge},
		})
	}
	return list
}

// longestFrame is that of all ports, in bytes.
func longestFrame(ports []config.Port) (n int) {
	for _, p := range ports {
		n = max(n, p.Framing.MaxBytes, p.Framing.Bytes, p.TxFraming.MaxBytes)
	}
	return n
}
