package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// statusEvery is how often the service manager is told how things are, if that has changed.
const statusEvery = time.Second

// notify tells the service manager something, and says whether it has taken it. It may take a second, so nothing is to be held
// meanwhile that a stop waits for.
func (s *Supervisor) notify(lines ...string) bool {
	err := s.handover.manager.Notify(lines...)
	if before := s.unheard.Swap(err != nil); err != nil && !before {
		s.log.Warn("the service manager does not listen", "error", err)
	}
	return err == nil
}

// tellManager tells the service manager, until ctx ends, that the supervisor is alive and how its ports are.
func (s *Supervisor) tellManager(ctx context.Context) error {
	manager := s.handover.manager
	if manager == nil {
		return nil
	}
	every := statusEvery
	if w := manager.Watchdog(); w > 0 {
		every = min(every, w/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	ready, told := false, ""
	for {
		ready = ready || s.notify("READY=1")
		if text := s.summary(); text != told && s.notify("STATUS="+text) {
			told = text
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if manager.Watchdog() == 0 {
			continue
		}
		if err := s.Alive(); err == nil {
			s.notify("WATCHDOG=1")
		} else {
			s.log.Error("the service manager is not told that all is well, and will restart the supervisor if that lasts", "error", err)
		}
	}
}

// summary says in one line how ports and workers are.
func (s *Supervisor) summary() string {
	ports, workers := s.board.read()
	open, running := 0, 0
	for _, p := range ports {
		if p.State == ipc.Open {
			open++
		}
	}
	for _, w := range workers {
		if w.State == ipc.WorkerRunning {
			running++
		}
	}
	text := fmt.Sprintf("%d of %d ports open, %d workers running", open, len(ports), running)
	if state, problem := s.broker.Store(); state != ipc.StoreOK {
		text += fmt.Sprintf("; store %s: %s", state, problem)
	}
	return text
}
