package supervisor

import (
	"os"

	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/systemd"
)

// legacy is what a supervisor tells the one that takes over in its process, beside the descriptors that it passes on: of the
// workers, which are its children, too.
type legacy struct {
	Waiting map[string]waiting  `json:"waiting"` // readers and writers, by name
	Workers map[string]*bequest `json:"workers"` // those of the user's own, by name
	Family  string              `json:"family"`  // what the marks of their families begin with
	Guard   int                 `json:"guard"`   // number of the process; 0: none
	Broker  string              `json:"broker"`  // host:port
	Inside  string              `json:"inside"`  // the same for this machine's programs, if that is another
}

// guardLeft is the guard of the workers' families, see process.Keeper.
type guardLeft struct {
	pid int
	fds [2]int
}

const (
	// legacyName is the descriptor of a memo with a legacy.
	legacyName = "legacy"
	// successorName is what the name of a reader's or writer's socket ends with.
	successorName = ".successor"
	// noticesName and stdinName are what the names of a worker's end with, and outputNames those of its pipes.
	noticesName, stdinName = ".notices", ".stdin"
)

var (
	outputNames = []string{".stdout", ".stderr"}
	guardNames  = []string{"guard.life", "guard.stdin"}
)

// legacy is what the supervisor before has told, if it was upgraded.
func (h *handover) legacy() (l legacy, err error) {
	if fd := h.one(legacyName); fd >= 0 {
		err = systemd.ReadMemo(fd, &l)
	}
	return l, err
}

// one takes over a descriptor that was passed on under a name, or returns -1.
func (h *handover) one(name string) int {
	fds := h.take("", []string{name})
	if len(fds) != 1 {
		return -1
	}
	return fds[0]
}

// inherit takes over the workers of the supervisor before.
func (h *handover) inherit() {
	l, err := h.legacy()
	if err != nil {
		h.log.Warn("workers of the supervisor before are not known", "error", err)
	}
	for name, w := range l.Waiting {
		h.spawner.Expect(w.PID)
		w.socket = os.NewFile(uintptr(h.one(name+successorName)), "successor") // of a wrong descriptor nil, whose methods fail
		h.workers[name] = &w
	}
	for name, b := range l.Workers {
		if b.PID != 0 {
			h.spawner.Expect(b.PID)
		}
		b.notices, b.stdin, b.output = h.one(name+noticesName), h.one(name+stdinName), h.take(name, outputNames)
		h.bequests[name] = b
	}
	if fds := h.take("", guardNames); l.Guard != 0 && fds != nil {
		h.spawner.Expect(l.Guard)
		h.guard = &guardLeft{l.Guard, [2]int{fds[0], fds[1]}}
	} else {
		systemd.CloseAll(fds) // one of which nothing is known ends with that
	}
	h.family, h.address, h.inside = l.Family, l.Broker, l.Inside
}

// keeper goes on with the guard of the supervisor before, or begins with one.
func (h *handover) keeper(program, family string) *process.Keeper {
	if h.guard == nil {
		return h.spawner.NewKeeper(program, GuardCommand, family, h.log)
	}
	g := h.guard
	h.guard = nil
	return h.spawner.AdoptKeeper(program, GuardCommand, family, g.pid, g.fds, h.log)
}

// pass keeps a worker for the next supervisor.
func (h *handover) pass(name string, w *waiting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.workers[name] = w
}

// waiting is a worker that the supervisor before has left, which is the caller's then, or nil.
func (h *handover) waiting(name string) *waiting {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.workers[name]
	delete(h.workers, name)
	return w
}

// endWaiting has those workers end that nobody will take.
func (h *handover) endWaiting(taken func(name string) bool) {
	for name, w := range h.workers {
		if !taken(name) {
			h.waiting(name).end(h.spawner)
			h.log.Debug("a worker of the supervisor before has ended", "worker", name, "pid", w.PID)
		}
	}
}

// bequeath is all that is passed on to the next program for it to go on with workers. With an error it is nothing: without what is
// known of them their descriptors would only be held open.
func (s *Supervisor) bequeath() (fds map[string]int, err error) {
	h := s.handover
	fds = map[string]int{}
	l := legacy{Waiting: map[string]waiting{}, Workers: map[string]*bequest{}, Family: s.family, Broker: s.broker.Address(), Inside: s.broker.Inside()}
	for name, w := range h.workers {
		l.Waiting[name] = *w
		fds[name+successorName] = int(w.socket.Fd())
	}
	for _, c := range s.gateway().workers {
		b, err := c.bequeath(s.gateway().config)
		if err != nil {
			return nil, err
		}
		name := c.config.Name
		l.Workers[name] = b
		if b.PID == 0 {
			continue
		}
		add(fds, name, outputNames, b.output...)
		if b.Notices != "" {
			fds[name+noticesName] = b.notices
		}
		if b.Bridge != nil {
			fds[name+stdinName] = b.stdin
		}
	}
	if s.keeper != nil {
		pid, guard, err := s.keeper.Detach()
		if err != nil {
			return nil, err
		}
		if pid != 0 {
			l.Guard = pid
			add(fds, "", guardNames, guard[:]...)
		}
	}
	fd, err := systemd.Memo(legacyName, l)
	if err != nil {
		return nil, err
	}
	fds[legacyName] = fd
	return fds, nil
}
