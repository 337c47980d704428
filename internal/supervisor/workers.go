package supervisor

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/nats-io/nats.go/micro"
	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/stdio"
)

// GuardCommand is the verb with which the supervisor's program is a guard of its workers' families, see process.Guard.
const GuardCommand = "guard"

// Guard is what the program does for GuardCommand.
func Guard(mark string) { process.Guard(mark) }

// prepareWorkers makes all workers of the user's own, and starts none.
func (s *Supervisor) prepareWorkers(spawner *process.Spawner, family string) {
	for _, w := range s.config.Workers {
		c := &custom{
			config: w, subjects: s.subjects, broker: s.broker, spawner: spawner, family: family, board: s.board, log: s.log,
			backoff: backoff{random: rand.Float64}, orders: newOrders(),
		}
		for _, p := range s.config.Ports {
			if len(w.Ports) > 0 && !slices.Contains(w.Ports, p.Name) {
				continue
			}
			c.ports = append(c.ports, stdio.Port{
				Name: p.Name, Text: p.Framing.Type == frame.Line && p.TxFraming.Type == frame.Line, Most: p.TxFraming.MaxBytes,
				Stored: p.Queue.Storage != config.None,
			})
		}
		s.board.addWorker(w.Name, s.started)
		s.workers = append(s.workers, c)
	}
}

// runWorkers runs the workers of the user's own until ctx ends. running ends after the last of them. gone waits for all that
// was started.
func (s *Supervisor) runWorkers(ctx context.Context, spawner *process.Spawner, self, family string) (gone func(), running context.Context, err error) {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	if len(s.workers) == 0 {
		stop := context.AfterFunc(ctx, end)
		return func() { stop(); end() }, running, nil
	}
	if err := spawner.AdoptStrays(); err != nil {
		end()
		return nil, nil, err
	}
	var workers, helpers errgroup.Group
	for _, c := range s.workers {
		workers.Go(func() error { return c.Run(ctx) })
	}
	helping, stopHelping := context.WithCancel(context.WithoutCancel(ctx))
	helpers.Go(func() error { return spawner.ReapStrays(helping) })
	helpers.Go(func() error { return spawner.KeepGuard(helping, self, GuardCommand, family, s.log) })
	ended := make(chan struct{})
	go func() { // waited for by gone
		defer close(ended)
		_ = workers.Wait() // Run returns nil
		end()
	}()
	return func() {
		<-ended
		stopHelping()
		if err := helpers.Wait(); err != nil {
			s.log.Error("workers had no guard", "error", err)
		}
	}, running, nil
}

// serveWorkers adds the endpoints by which workers are started and stopped.
func (s *Supervisor) serveWorkers(service micro.Service) error {
	for _, c := range s.workers {
		for action, handler := range c.handlers() {
			subject := micro.WithEndpointSubject(s.subjects.Worker(c.config.Name, action))
			if err := service.AddEndpoint(action+"-"+c.config.Name, handler, subject); err != nil {
				return err
			}
		}
	}
	return nil
}
