package supervisor

import (
	"math/rand/v2"
	"slices"

	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/stdio"
)

// GuardCommand is the verb with which the supervisor's program is a guard of its workers' families, see process.Guard.
const GuardCommand = "guard"

// Guard is what the program does for GuardCommand.
func Guard(mark string) { process.Guard(mark) }

// prepareWorker makes a worker of the user's own, with those of the gateway's ports that it may have to do with. It does not
// start it.
func (s *Supervisor) prepareWorker(w config.Worker, ports []config.Port) *custom {
	return &custom{
		config: w, ports: stdioPorts(w, ports), subjects: s.subjects, broker: s.broker, spawner: s.spawner, family: s.family, board: s.board,
		log: s.log, backoff: backoff{random: rand.Float64}, orders: newOrders(),
		passing: s.handover.upgrading.Load,
	}
}

// stdioPorts are the ports that a worker may have to do with.
func stdioPorts(w config.Worker, ports []config.Port) (list []stdio.Port) {
	for _, p := range ports {
		if len(w.Ports) > 0 && !slices.Contains(w.Ports, p.Name) {
			continue
		}
		list = append(list, stdio.Port{
			Name: p.Name, Text: p.Framing.Type == frame.Line && p.TxFraming.Type == frame.Line, Most: p.TxFraming.MaxBytes,
			Stored: p.Queue.Storage != config.None,
		})
	}
	return list
}

// adoptFamilies begins to see to what workers of the user's own start, once there are any, until the supervisor ends. Workers run
// without that too: what can be had of it is better than no worker. reloading must be held.
func (s *Supervisor) adoptFamilies() {
	if s.adopted {
		return
	}
	s.adopted = true
	if err := s.spawner.AdoptStrays(); err != nil {
		s.log.Error("what workers leave behind when they end may go on", "error", err)
	}
	s.log.Debug("families of workers are kept together", "control_groups", s.spawner.HasGroups())
	ctx := s.helping
	s.helpers.Go(func() error { return s.spawner.ReapStrays(ctx) })
	s.keeper = s.handover.keeper(s.programs.self, s.family)
	s.helpers.Go(func() error { s.keeper.Run(ctx); return nil })
}

// inheritWorkers has workers go on that the supervisor before has left, if they are as they were, and the others end.
func (s *Supervisor) inheritWorkers(g *gateway) error {
	left := s.handover.bequests
	for _, c := range g.workers {
		b := left[c.config.Name]
		if b == nil {
			continue
		}
		spec, err := specOf(g.config, c.config, s.broker.URL())
		if err != nil {
			return err
		}
		if spec != b.Spec {
			s.log.Info("worker is started anew, as its config has changed", "worker", c.config.Name)
			b.end(s.spawner)
			b = &bequest{Runs: b.Runs, Restarts: b.Restarts}
			left[c.config.Name] = b
		}
		c.before = b
	}
	for name, b := range left {
		if g.worker(name) == nil {
			s.log.Info("worker ends, as it is in the config no more", "worker", name)
			b.end(s.spawner)
			delete(left, name)
		}
	}
	return nil
}

// serveWorkers adds the endpoints by which workers are started and stopped.
func (s *Supervisor) serveWorkers(service micro.Service, workers []*custom) error {
	for _, c := range workers {
		for _, action := range ipc.WorkerActions {
			if err := serveOn(service, action+"-"+c.config.Name, s.subjects.Worker(c.config.Name, action), c.answerOrder(action)); err != nil {
				return err
			}
		}
	}
	return nil
}
