package supervisor

import (
	"context"
	"errors"
	"net"
	"slices"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/config"
)

// startBroker runs the broker, after an upgrade where it was before.
func (s *Supervisor) startBroker(ctx context.Context, c *config.Config) (*broker.Broker, error) {
	o := s.brokerOptions(c)
	host, port, _ := net.SplitHostPort(o.Listen) // the config was checked
	if before, number, err := net.SplitHostPort(s.handover.address); err == nil && port == "0" {
		o.Listen = net.JoinHostPort(host, number)
		b, err := broker.Start(ctx, o)
		if err == nil || !errors.Is(err, broker.ErrListen) {
			return b, err
		}
		s.log.Warn("the broker listens elsewhere than before", "before", net.JoinHostPort(before, number), "error", err)
		o.Listen = c.Broker.Listen
	}
	return broker.Start(ctx, o)
}

func (s *Supervisor) brokerOptions(c *config.Config) broker.Options {
	h := c.History
	return broker.Options{
		Users: s.usersOf,
		Name:  c.Name, Listen: c.Broker.Listen, StateDir: s.options.StateDir, Root: c.SubjectRoot, Log: s.log,
		History: broker.History{
			Off: h.Storage == config.None, Memory: h.Storage == config.Memory, MaxAge: h.MaxAge, MaxBytes: h.MaxBytes,
			Sync: h.Sync, SyncAlways: h.SyncAlways,
		},
		Queues: queuesOf(c.Ports), MaxFrame: longestFrame(c.Ports),
	}
}

// usersOf are those whom the broker lets in from the start: the roles, and workers that the supervisor before has left.
func (s *Supervisor) usersOf(b *broker.Broker) (list []broker.Grant, err error) {
	if s.roles, err = s.folder.grants(b); err != nil {
		return nil, err
	}
	list = slices.Clone(s.roles)
	for name, left := range s.handover.bequests {
		if left.PID != 0 {
			g := b.WorkerGrant(name, left.Role, left.Ports)
			g.Password = left.Password
			list = append(list, g)
		}
	}
	return list, nil
}
