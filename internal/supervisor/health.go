package supervisor

import (
	"fmt"
	"strings"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/telemetry"
)

const (
	// roundLimit is how long the supervisor may take to come round all ports, which it does each lossLook.
	roundLimit = 10 * time.Second
	// brokerLimit is how long the broker may take to answer the supervisor itself.
	brokerLimit = 2 * time.Second
)

// Alive implements telemetry.Source: the ports can be looked at, and the broker answers.
func (s *Supervisor) Alive() error {
	if late := time.Since(*s.round.Load()); late > roundLimit {
		return fmt.Errorf("the supervisor has not looked at its ports for %s", late.Round(time.Second))
	}
	return s.broker.Answers(brokerLimit)
}

// Snapshot implements telemetry.Source.
func (s *Supervisor) Snapshot() telemetry.Snapshot {
	snapshot := telemetry.Snapshot{
		Status: s.status(), Broker: s.broker.Figures(), QueueLimits: map[string]int64{},
	}
	if s.broker.HistoryStream() != "" {
		_, history := s.queues.known()
		snapshot.History = &telemetry.History{HistoryFigures: history, MaxAge: s.gateway().config.History.MaxAge, MaxBytes: s.gateway().config.History.MaxBytes}
	}
	for _, p := range s.gateway().ports {
		if t := s.broker.Target(p.config.Name); t.Stream != "" {
			snapshot.QueueLimits[p.config.Name] = t.MaxMessages
		}
	}
	return snapshot
}

// notReady says why the gateway does not do all it could, a line for each reason. A device that is missing, busy or cannot
// be used is no reason: its port waits for it, as it should, and so do the workers that come after it.
func notReady(s ipc.Status) (reasons []string) {
	if s.Broker.Store != ipc.StoreOK {
		reasons = append(reasons, fmt.Sprintf("store %s: %s", s.Broker.Store, s.Broker.StoreError))
	}
	open := map[string]bool{}
	for _, p := range s.Ports {
		open[p.Name] = p.State == ipc.Open
		if p.State == ipc.Closed {
			reasons = append(reasons, fmt.Sprintf("port %s is closed", p.Name))
		}
	}
	for _, w := range s.Workers {
		port, _, builtin := strings.Cut(w.Name, "/")
		switch {
		case w.State == ipc.WorkerRunning, builtin && !open[port]:
			continue
		case !builtin && (w.State == ipc.WorkerStopped || w.State == ipc.WorkerStopping):
			continue // it has done its work, or was told to
		case !builtin && w.State == ipc.WorkerStarting && w.PID == 0:
			continue // what it waits for has reasons of its own
		}
		reason := fmt.Sprintf("worker %s is %s", w.Name, w.State)
		if w.LastExit != "" {
			reason += ", last exit: " + w.LastExit
		}
		reasons = append(reasons, reason)
	}
	return reasons
}
