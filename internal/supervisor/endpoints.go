package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// serve answers requests to the supervisor, in both accounts, as a NATS micro service named serialvisor. The returned
// function ends it.
func (s *Supervisor) serve() (stop func(), err error) {
	var services []micro.Service
	stop = func() {
		for _, service := range services {
			_ = service.Stop() // fails if the connection is closed, and then it is stopped
		}
		for _, p := range s.ports {
			p.lease.stop()
		}
	}
	for _, nc := range []*nats.Conn{s.broker.Traffic(), s.broker.Control()} {
		service, err := micro.AddService(nc, micro.Config{Name: "serialvisor", Version: s.options.Version, Description: "serial ports of " + s.config.Name})
		if err == nil {
			services = append(services, service)
			err = service.AddEndpoint("status", micro.HandlerFunc(s.answerStatus), micro.WithEndpointSubject(s.subjects.Status()))
		}
		if err == nil && nc == s.broker.Control() {
			err = s.servePorts(service)
		}
		if err == nil && nc == s.broker.Control() {
			err = s.serveWorkers(service)
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

// servePorts adds endpoints for each port: one that does not exist has nobody who answers, and one whose driver takes
// long keeps no other waiting.
func (s *Supervisor) servePorts(service micro.Service) error {
	for _, p := range s.ports {
		for _, e := range []struct {
			name, subject string
			handler       micro.HandlerFunc
		}{
			{"control-" + p.config.Name, s.subjects.Control(p.config.Name), p.answerControl},
			{"lease-" + p.config.Name, s.subjects.Lease(p.config.Name), p.lease.answer},
		} {
			if err := service.AddEndpoint(e.name, e.handler, micro.WithEndpointSubject(e.subject)); err != nil {
				return err
			}
		}
		p.lease.resume()
	}
	return nil
}

// answerStatus answers only to an inbox: any other subject would have the supervisor publish there for somebody who may not.
func (s *Supervisor) answerStatus(r micro.Request) {
	if !strings.HasPrefix(r.Reply(), "_INBOX") {
		return
	}
	body, err := json.Marshal(s.status())
	if err == nil {
		err = r.Respond(body)
	}
	if err != nil {
		s.log.Debug("a request for status was not answered", "error", err)
	}
}

// status puts together what is known now. Nobody is asked who could keep it waiting for long.
func (s *Supervisor) status() ipc.Status {
	look(s.ports, s.queues.ask())
	ports, workers := s.board.read()
	status := ipc.Status{
		Name: s.config.Name, Version: s.options.Version, PID: os.Getpid(),
		UptimeSeconds: time.Since(s.started).Seconds(), Broker: ipc.BrokerStatus{URL: s.broker.URL()},
		Ports: ports, Workers: workers,
	}
	status.Broker.Store, status.Broker.StoreError = s.broker.Store()
	if s.metrics != nil {
		status.MetricsURL = s.metrics.URL()
	}
	waiting, _ := s.queues.known()
	for i := range ports { // in the order of s.ports
		p, r := &ports[i], s.ports[i].memory.ring
		p.Rx, p.Lease = ipc.RxStatus(r.Rx()), s.ports[i].lease.status()
		tx := r.Tx()
		p.Tx = ipc.TxStatus{Bytes: tx.Bytes, Frames: tx.Frames, Queued: waiting[p.Name], Expired: tx.Expired, LostHistory: tx.LostHistory}
		if source := r.Source(); source != 0 {
			p.Tx.QueueID = ipc.QueueToken(source)
		}
	}
	status.NotReady = notReady(status)
	status.Ready = len(status.NotReady) == 0
	return status
}
