package supervisor

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/config"
)

// listenAgain is for how long after an upgrade is waited for the broker's addresses, which others may have taken in between.
const listenAgain = 10 * time.Second

// startBroker runs the broker, after an upgrade where it was before.
func (s *Supervisor) startBroker(ctx context.Context, c *config.Config) (b *broker.Broker, err error) {
	for begun := time.Now(); ; {
		b, err = s.tryBroker(ctx, c)
		taken := errors.Is(err, broker.ErrListen) || errors.Is(err, broker.ErrListenOutside)
		if !taken || s.handover.address == "" || time.Since(begun) > listenAgain {
			return b, err
		}
		s.log.Warn("the upgrade waits", "error", err)
		select {
		case <-time.After(listenAgain / 20):
		case <-ctx.Done():
			return b, err
		}
	}
}

func (s *Supervisor) tryBroker(ctx context.Context, c *config.Config) (*broker.Broker, error) {
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
	h, b := c.History, c.Broker
	return broker.Options{
		Users: func(b *broker.Broker) ([]broker.Grant, error) { return s.usersOf(b, c) },
		TLS:   broker.TLS(b.TLS), Inside: s.handover.inside, WebSocket: b.WebSocket.Listen, Origins: b.WebSocket.Origins, MQTT: b.MQTT.Listen,
		Name: c.Name, Listen: b.Listen, StateDir: s.options.StateDir, Root: c.SubjectRoot, Log: s.log,
		History: broker.History{
			Off: h.Storage == config.None, Memory: h.Storage == config.Memory, MaxAge: h.MaxAge, MaxBytes: h.MaxBytes,
			Sync: h.Sync, SyncAlways: h.SyncAlways,
		},
		Leaf:   leafOf(c),
		Queues: queuesOf(c.Ports), MaxFrame: longestFrame(c.Ports),
	}
}

// brokerUsers are the users of the config.
func brokerUsers(c *config.Config) (list []broker.User) {
	for _, u := range c.Broker.Users {
		list = append(list, broker.User{
			Name: u.Name, Hash: u.Password, NKey: u.NKey, Certified: u.Password == "" && u.NKey == "", Role: u.Role, Ports: u.Ports,
		})
	}
	return list
}

// usersOf are those whom the broker lets in from the start: the roles, users of the config, and workers that the supervisor before
// has left.
func (s *Supervisor) usersOf(b *broker.Broker, c *config.Config) (list []broker.Grant, err error) {
	if s.roles, err = s.folder.grants(b); err != nil {
		return nil, err
	}
	list = slices.Clone(s.roles)
	for _, u := range brokerUsers(c) {
		list = append(list, b.UserGrant(u))
	}
	for name, left := range s.handover.bequests {
		if left.PID != 0 {
			g := b.WorkerGrant(name, left.Role, left.Ports)
			g.Password = left.Password
			list = append(list, g)
		}
	}
	return list, nil
}
