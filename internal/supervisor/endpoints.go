package supervisor

import (
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// serve answers requests to the supervisor, in both accounts, as a NATS micro service named serialvisor, for the ports and
// workers of a gateway. The returned function ends it.
func (s *Supervisor) serve(g *gateway) (stop func(), err error) {
	var services []micro.Service
	desk, closeDesk := openDesk(s.status)
	stop = func() {
		for _, service := range services {
			_ = service.Stop() // fails if the connection is closed, and then it is stopped
		}
		closeDesk()
	}
	for _, nc := range []*nats.Conn{s.broker.Traffic(), s.broker.Control()} {
		service, err := micro.AddService(nc, micro.Config{Name: "serialvisor", Version: s.options.Version, Description: "serial ports of " + g.config.Name})
		if err == nil {
			services = append(services, service)
			err = serveOn(service, "status", s.subjects.Status(), desk.answer)
		}
		if err == nil && nc == s.broker.Control() {
			err = s.serveControl(service, g)
		}
		if err == nil {
			err = nc.Flush() // until then the broker would say that nobody answers
		}
		if err != nil {
			stop()
			return nil, fmt.Errorf("serve requests: %w", err)
		}
	}
	return stop, nil
}

// serveControl adds the endpoints for those who may change something.
func (s *Supervisor) serveControl(service micro.Service, g *gateway) error {
	if err := s.servePorts(service, g.ports); err != nil {
		return err
	}
	if err := s.serveWorkers(service, g.workers); err != nil {
		return err
	}
	if err := serveOn(service, "upgrade", s.subjects.Upgrade(), s.answerUpgrade); err != nil {
		return err
	}
	return serveOn(service, "reload", s.subjects.Reload(), s.answerReload)
}

// servePorts adds endpoints for each port: one that does not exist has nobody who answers, and one whose driver takes
// long keeps no other waiting.
func (s *Supervisor) servePorts(service micro.Service, ports []*port) error {
	for _, p := range ports {
		for _, e := range []struct {
			name, subject string
			handler       micro.HandlerFunc
		}{
			{"control-" + p.config.Name, s.subjects.Control(p.config.Name), p.answerControl},
			{"lease-" + p.config.Name, s.subjects.Lease(p.config.Name), p.lease.answer},
		} {
			if err := serveOn(service, e.name, e.subject, e.handler); err != nil {
				return err
			}
		}
	}
	return nil
}

// serveOn adds an endpoint, which answers only to inboxes, see ipc.IsInbox.
func serveOn(service micro.Service, name, subject string, answer micro.HandlerFunc) error {
	return service.AddEndpoint(name, micro.HandlerFunc(func(r micro.Request) {
		if ipc.IsInbox(r.Reply()) {
			answer(r)
		}
	}), micro.WithEndpointSubject(subject))
}

// status puts together what is known now. Nobody is asked who could keep it waiting for long.
func (s *Supervisor) status() ipc.Status {
	g := s.gateway()
	look(g.ports, s.queues.ask())
	ports, workers := s.board.read()
	status := ipc.Status{
		Name: g.config.Name, Version: s.options.Version, PID: os.Getpid(),
		Started: s.started.UTC(), UptimeSeconds: time.Since(s.started).Seconds(), Broker: ipc.BrokerStatus{URL: s.broker.URL()},
		Ports: ports, Workers: workers,
	}
	status.Broker.Store, status.Broker.StoreError = s.broker.Store()
	if server := s.metrics.Load(); server != nil {
		status.MetricsURL = server.URL()
	}
	waiting, history := s.queues.known()
	if s.uplink != nil {
		leaf := s.uplink.Status(history.LastSequence, history.Messages)
		status.Leaf = &leaf
	}
	for i := range ports {
		p, one := &ports[i], g.port(ports[i].Name)
		if one == nil {
			continue // it comes or goes in this moment
		}
		r := one.memory.ring
		p.Rx, p.Lease = ipc.RxStatus(r.Rx()), one.lease.status()
		tx := r.Tx()
		p.Tx = ipc.TxStatus{Bytes: tx.Bytes, Frames: tx.Frames, Queued: waiting[p.Name], Expired: tx.Expired, LostHistory: tx.LostHistory}
		if source := r.Source(); source != 0 {
			p.Tx.QueueID = ipc.QueueToken(source)
		}
	}
	status.NotReady = notReady(status)
	if !s.begun.Load() {
		status.NotReady = append([]string{"the supervisor is starting"}, status.NotReady...)
	}
	status.Ready = len(status.NotReady) == 0
	return status
}
