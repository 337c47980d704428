package supervisor

import (
	"context"

	"github.com/serialvisor/serialvisor/internal/devices"
)

// watchDevices has ports that wait for their device look again as soon as one may have come. Without it they still look
// once in a while.
func (s *Supervisor) watchDevices(ctx context.Context) error {
	for ctx.Err() == nil {
		watching, stop := context.WithCancel(ctx)
		var paths []string
		for _, p := range s.gateway().ports {
			if p.config.Device != "" {
				paths = append(paths, p.config.Device)
			}
		}
		ended := make(chan error, 1)
		go func() { ended <- watch(watching, paths, s.wakePorts) }() // waited for below
		select {
		case <-s.devices:
			stop()
			<-ended
		case err := <-ended:
			if err != nil {
				s.log.Warn("devices that come back are noticed late", "error", err, "within", retryCap)
				select {
				case <-s.devices:
				case <-ctx.Done():
				}
			}
		}
		stop()
	}
	return nil
}

// watch calls wake when a device may have come, until ctx ends.
func watch(ctx context.Context, paths []string, wake func()) error {
	watcher, err := devices.NewWatcher(paths)
	if err != nil {
		return err
	}
	return watcher.Run(ctx, wake)
}

func (s *Supervisor) wakePorts() {
	for _, p := range s.gateway().ports {
		p.wakeUp()
	}
}
