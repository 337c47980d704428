package supervisor

import (
	"context"
	"time"

	"github.com/serialvisor/serialvisor/internal/telemetry"
)

// metricsAgain is how often an address for metrics is tried that another has taken.
const metricsAgain = time.Second

// listenMetrics takes the address for metrics, if there is one. Where another has taken it during an upgrade the gateway goes on without
// them: its ports matter more.
func (s *Supervisor) listenMetrics(address string) error {
	if address == "" {
		return nil
	}
	server, err := telemetry.Listen(address, s.log)
	switch {
	case err == nil:
		s.metrics.Store(server)
		s.log.Info("metrics", "url", server.URL())
	case s.handover.address != "":
		s.log.Error("there are no metrics until their address is free again", "error", err)
		return nil
	}
	return err
}

// serveMetrics answers for metrics until ctx ends, as soon as it has their address.
func (s *Supervisor) serveMetrics(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	tick := time.NewTicker(metricsAgain)
	defer tick.Stop()
	for s.metrics.Load() == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if server, err := telemetry.Listen(address, s.log); err == nil {
			s.metrics.Store(server)
			s.log.Info("metrics", "url", server.URL())
		}
	}
	return s.metrics.Load().Run(ctx, s)
}

func (s *Supervisor) closeMetrics() {
	if server := s.metrics.Load(); server != nil {
		server.Close()
	}
}
