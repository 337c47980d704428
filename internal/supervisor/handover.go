package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/ring"
	"github.com/serialvisor/serialvisor/internal/serialio"
	"github.com/serialvisor/serialvisor/internal/systemd"
)

// handover passes ports on from one supervisor to the next: the descriptors of the device, of the port's memory and of its
// pipes. The next one goes on with the same session, and the device notices nothing. A supervisor that is killed or restarted
// leaves them with the service manager, if that keeps descriptors; one that is upgraded passes them on itself.
type handover struct {
	manager   *systemd.Manager
	passed    map[string][]int // what the supervisor before has left, by name
	upgrading atomic.Bool      // this one ends in favour of another
	spawner   *process.Spawner
	log       *slog.Logger

	bequests map[string]*bequest // workers of the user's own of the supervisor before, by name
	guard    *guardLeft          // of the supervisor before; nil: none
	family   string              // mark of the workers' families of the supervisor before; empty: none
	address  string              // where its broker listened
	inside   string              // the same for this machine's programs, if that was another
	atWork   bool                // bequests were taken over, and workers are those for the next supervisor

	mu      sync.Mutex // guards workers, while ports run
	workers map[string]*waiting
}

// The names of a port's descriptors begin with its own. Each has one of its own, as the order of several with one name is
// not kept.
var (
	memoryNames = []string{".ring", ".rx-read", ".rx-write", ".tx-read", ".tx-write"}
	deviceNames = []string{".keeper", ".reader", ".writer"}
)

func newHandover(spawner *process.Spawner, log *slog.Logger) *handover {
	manager, passed, err := systemd.FromEnviron()
	if err != nil {
		log.Warn("devices may be closed when the supervisor restarts", "error", err)
	}
	h := &handover{manager: manager, passed: passed, spawner: spawner, log: log, workers: map[string]*waiting{}, bequests: map[string]*bequest{}}
	h.inherit()
	return h
}

// lasting says whether sessions outlive the supervisor.
func (h *handover) lasting() bool { return h.manager.Keeps() || h.upgrading.Load() }

// take takes over a port's descriptors of some names, if all are there, and forgets them.
func (h *handover) take(port string, names []string) []int {
	var fds []int
	for _, name := range names {
		fds = append(fds, h.passed[port+name]...)
		delete(h.passed, port+name)
	}
	if len(fds) == len(names) {
		return fds
	}
	systemd.CloseAll(fds)
	return nil
}

// keep leaves a port's descriptors with the service manager, in place of those that it had.
func (h *handover) keep(port string, names []string, fds ...int) {
	h.drop(port, names)
	for i, name := range names {
		if err := h.manager.Keep(port+name, fds[i]); err != nil {
			h.log.Warn("a device will be opened anew when the supervisor restarts", "port", port, "error", err)
			return
		}
	}
}

// drop has the service manager forget descriptors of a port.
func (h *handover) drop(port string, names []string) {
	for _, name := range names {
		if err := h.manager.Drop(port + name); err != nil {
			h.log.Warn("the service manager holds a device that is closed", "port", port, "error", err)
			return
		}
	}
}

// finish ends workers that have no session to go on with, and closes what nobody has taken: of ports that are not configured any
// more.
func (h *handover) finish(ports []*port) {
	h.endWaiting(func(name string) bool {
		return slices.ContainsFunc(ports, func(p *port) bool {
			return p.idle != nil && (name == readerOf(p.config.Name) || name == writerOf(p.config.Name))
		})
	})
	for name, fds := range h.passed {
		h.log.Info("letting go of what the supervisor before had open", "name", name)
		systemd.CloseAll(fds)
		h.drop(name, []string{""})
	}
	h.passed = nil
}

// note is what a supervisor leaves in a port's memory for its successor.
type note struct {
	Session string            `json:"session"`
	Config  string            `json:"config"` // names the settings that a session cannot go on without
	Device  serialio.Handover `json:"device"`
}

// fingerprint names the settings of a port that a session depends on.
func fingerprint(c config.Port) string {
	text, err := json.Marshal(struct {
		Device, USB, Settings, Framing, TxFraming, ForwardTo any
	}{c.Device, c.USB, c.Settings, c.Framing, c.TxFraming, c.ForwardTo})
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// memory takes a port's memory over, or makes it.
func (h *handover) memory(c config.Port) (*memory, error) {
	lost := 0
	if fds := h.take(c.Name, memoryNames); fds != nil {
		r, err := ring.Open(fds[0])
		if err == nil && r.Fits(sizesOf(c)) {
			// Workers come with their supervisor, and so does what wakes them.
			bell, err := serialio.NewBell()
			return &memory{r, os.NewFile(uintptr(fds[0]), "ring "+c.Name), serialio.Pipe{R: fds[1], W: fds[2]}, serialio.Pipe{R: fds[3], W: fds[4]}, bell}, err
		}
		if err == nil {
			lost = r.GiveUp()
		}
		h.log.Warn("what the supervisor before has left of a port does not fit any more; counted in status as lost_history", "port", c.Name, "frames", lost, "error", err)
		systemd.CloseAll(fds)
	}
	m, err := newMemory(c)
	if err != nil {
		return nil, err
	}
	m.ring.CountLostHistory(lost)
	h.keep(c.Name, memoryNames, m.descriptors()...)
	return m, nil
}

// device takes a port's open device over, with its session. Without one it returns nil, and the session of which there may
// be something in the memory still.
func (h *handover) device(c config.Port, m *memory) (device *serialio.Port, session string) {
	fds := h.take(c.Name, deviceNames)
	var n note
	problem := json.Unmarshal(m.ring.Note(), &n)
	same := problem == nil && n.Config == fingerprint(c)
	if dropped, err := m.ring.SetTargets(c.ForwardTo, same); err != nil {
		h.log.Error("frames are not forwarded", "port", c.Name, "error", err)
	} else if dropped > 0 {
		h.log.Warn("frames were left for a port that is not in forward_to any more; counted in status as lost_forward", "port", c.Name, "frames", dropped)
	}
	if problem != nil { // there is nothing in the memory, which is new
		systemd.CloseAll(fds)
		h.drop(c.Name, deviceNames)
		return nil, ""
	}
	if fds == nil || !same {
		systemd.CloseAll(fds)
		h.drop(c.Name, deviceNames)
		return nil, n.Session
	}
	device, err := serialio.Adopt(n.Device, fds[0], fds[1], fds[2])
	if err != nil {
		h.log.Warn("the device was not taken over", "port", c.Name, "error", err)
		h.drop(c.Name, deviceNames)
	}
	return device, n.Session
}

// opened leaves an open device with the service manager.
func (h *handover) opened(c config.Port, m *memory, device *serialio.Port, session string) error {
	text, err := json.Marshal(note{session, fingerprint(c), device.Handover()})
	if err != nil {
		return err
	}
	if err := m.ring.SetNote(text); err != nil {
		return fmt.Errorf("port %s: %w", c.Name, err)
	}
	keeper, reader, writer := device.Descriptors()
	h.keep(c.Name, deviceNames, keeper, reader, writer)
	return nil
}

// closed takes it back.
func (h *handover) closed(c config.Port) { h.drop(c.Name, deviceNames) }
