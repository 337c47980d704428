package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// What expiry knows of frames outlasts writers, and the supervisor.

// expiringFile is where a supervisor leaves the frames with a TTL for its successor: the queue drops those that expire between
// the two.
const expiringFile = "expiring"

// newExpiry begins with what the supervisor before has left.
func newExpiry(ctx context.Context, b *broker.Broker, f *folder, port func(name string) *port, log *slog.Logger) *expiry {
	e := &expiry{broker: b, folder: f, port: port, log: log, seen: map[string]broker.QueuedFrame{}, left: map[outcome]bool{}}
	if err := e.load(ctx); err != nil {
		log.Warn("frames that have expired since the supervisor before ended are not told of", "error", err)
	}
	return e
}

func (e *expiry) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, expiryLimit)
	defer cancel()
	path := filepath.Join(e.folder.path, expiringFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.Remove(path) // never to be told twice
	}
	if err != nil {
		return err
	}
	var all []mortal
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	for _, m := range all {
		e.insert(m)
		e.left[m.id()] = true
		if err := e.outcomes.begin(ctx, e.broker, m.Port); err != nil {
			return err
		}
	}
	return nil
}

// finish tells of what is due, and leaves the rest for the next supervisor. Only when no writer runs any more.
func (e *expiry) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, expiryGrace)
	defer cancel()
	err := e.broker.HearOutcomes(ctx)
	if state, _ := e.broker.Store(); err == nil && state == ipc.StoreOK { // else it would take what time there is
		_, err = e.look(ctx, 0)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var rest []mortal
	for _, m := range e.waiting {
		if m.Frame.Header != nil {
			rest = append(rest, m)
		}
	}
	if len(rest) > 0 {
		text, failed := json.Marshal(rest)
		if failed == nil {
			failed = e.folder.write(expiringFile, string(text))
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		e.log.Warn("frames that expire while no supervisor runs may not be told of", "error", err)
	}
}

// between tells of a port's frames whose time is over and that its last writer has not come to, and calls next, with which its
// queue begins for another writer. Nobody has any of them then.
func (e *expiry) between(ctx context.Context, p *port, next func() error) error {
	if p.broker.Target(p.config.Name).Stream == "" {
		return next() // it does not depend on the store
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, expiryLimit)
	defer cancel()
	p.writing.Store(false)
	err := e.broker.HearOutcomes(limited)
	if err == nil {
		e.settle()
		err = e.takeOut(limited)
	}
	if err != nil {
		e.log.Debug("a queue was not looked at for frames that have expired", "port", p.config.Name, "error", err)
	}
	for i := range e.waiting {
		if m := &e.waiting[i]; m.Port == p.config.Name {
			m.mark, m.free = 0, time.Time{}
		}
	}
	if err := next(); err != nil {
		return err
	}
	p.memory.ring.ForgetHandled()
	p.writing.Store(true)
	return nil
}

// outcome names a frame of a queue of which is told what became of it.
type outcome struct {
	port, queue string
	seq         uint64
}

// outcomes hears what became of frames, of the ports of which frames with a TTL wait.
type outcomes struct {
	stops map[string]func() // by port

	mu    sync.Mutex // guards heard
	heard map[outcome]bool
}

func (o *outcomes) follows(port string) bool { return o.stops[port] != nil }

// begin begins to listen for a port's, if that is not so yet.
func (o *outcomes) begin(ctx context.Context, b *broker.Broker, port string) error {
	if o.follows(port) {
		return nil
	}
	stop, err := b.FollowOutcomes(ctx, port, func(queue string, seq uint64) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.heard == nil {
			o.heard = map[outcome]bool{}
		}
		o.heard[outcome{port, queue, seq}] = true
	})
	if err != nil {
		return err
	}
	if o.stops == nil {
		o.stops = map[string]func(){}
	}
	o.stops[port] = stop
	return nil
}

// follow goes on with the ports that are wanted still.
func (o *outcomes) follow(wanted func(port string) bool) {
	for port, stop := range o.stops {
		if !wanted(port) {
			stop()
			delete(o.stops, port)
		}
	}
}

// take is what was heard since the last time.
func (o *outcomes) take() map[outcome]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	heard := o.heard
	o.heard = nil
	return heard
}
