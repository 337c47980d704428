package supervisor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/process"
)

// A supervisor that takes over from another by an upgrade is the parent of workers from its first moment on. If it does not come to
// work they are asked to end as at any stop: the kernel would kill them with it.

// Abandon ends in order what a supervisor before has left in this process, if there was one, where there is nothing to go on with.
func Abandon(log *slog.Logger) { newHandover(process.NewSpawner(), log).abandon() }

// taken says that all workers have somebody who sees to them.
func (h *handover) taken() { h.bequests, h.atWork = nil, true }

// abandon has those end whom nobody has taken over.
func (h *handover) abandon() {
	if h.atWork {
		return
	}
	var left []*bequest
	for _, b := range h.bequests {
		left = append(left, b)
	}
	if len(left) > 0 {
		h.log.Info("the workers of the supervisor before end with this one")
	}
	endAll(h.spawner, left)
	h.endWaiting(func(string) bool { return false })
}

// endAll has processes end that nobody wants any more, with their families.
func endAll(s *process.Spawner, left []*bequest) {
	var all sync.WaitGroup
	for _, b := range left {
		all.Go(func() { b.end(s) })
	}
	all.Wait()
}

// startGrace is for how long a supervisor that takes over goes on starting when it is to stop. Once it is at work it can stop in order:
// what was received is published, and workers have the broker for their last words.
const startGrace = 3 * time.Second

// starting is what the start may wait with. over frees it.
func (s *Supervisor) starting(ctx context.Context) (_ context.Context, over func()) {
	if s.handover.address == "" {
		return ctx, func() {}
	}
	starting, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(startGrace, end) })
	return starting, func() { stop(); end() }
}
