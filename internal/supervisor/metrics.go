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
	err := s.takeMetrics(address)
	if err != nil && s.handover.address != "" {
		s.log.Error("there are no metrics until their address is free again", "error", err)
		return nil
	}
	return err
}

func (s *Supervisor) takeMetrics(address string) error {
	server, err := telemetry.Listen(address, s.log)
	if err != nil {
		return err
	}
	s.metrics.Store(server)
	s.log.Info("metrics", "url", server.URL())
	return nil
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
		_ = s.takeMetrics(address) // it was logged why not
	}
	return s.metrics.Load().Run(ctx, s)
}

func (s *Supervisor) closeMetrics() {
	if server := s.metrics.Load(); server != nil {
		server.Close()
	}
}
