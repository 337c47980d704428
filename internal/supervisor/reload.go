package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/systemd"
)

// followSignals reloads the config at each SIGHUP and upgrades at SIGUSR2, until ctx ends.
func (s *Supervisor) followSignals(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case signal := <-s.signals:
			if signal == syscall.SIGUSR2 {
				if err := s.upgrade(); err != nil {
					s.log.Error("there was no upgrade, and all is as before", "error", err)
				}
			} else if _, err := s.reload(false); err != nil {
				s.log.Error("the config was not reloaded, and all is as before", "error", err)
			}
		}
	}
}

// answerReload answers a request on Subjects.Reload.
func (s *Supervisor) answerReload(r micro.Request) {
	var wish ipc.ReloadRequest
	reply, err := &ipc.ReloadReply{}, error(nil)
	if len(r.Data()) > 0 {
		err = json.Unmarshal(r.Data(), &wish)
	}
	if err == nil {
		reply, err = s.reload(wish.DryRun)
	}
	if err != nil {
		err = answerError(r, err)
	} else {
		err = r.RespondJSON(reply)
	}
	if err != nil {
		s.log.Debug("a reload was not answered", "error", err)
	}
}

// answerError answers with an error, which may have several lines.
func answerError(r micro.Request, reason error) error {
	return r.Error(strconv.Itoa(ipc.CodeBadRequest), strings.ReplaceAll(reason.Error(), "\n", "; "), []byte(reason.Error()))
}

// reload takes over the config as its file has it now, and says what that changes; dry: without doing it. With an error nothing
// has changed, unless it says so.
func (s *Supervisor) reload(dry bool) (*ipc.ReloadReply, error) {
	if !dry {
		if _, err := s.alive(); err != nil {
			return nil, errNotRunning
		}
		s.notify(systemd.Reloading()...)
		defer func() {
			if !s.handover.upgrading.Load() { // which is announced, too
				s.notify("READY=1")
			}
		}()
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	old := s.gateway()
	if s.ending || s.helping == nil {
		return nil, errNotRunning
	}
	next, err := config.Load(old.config.Path)
	if err != nil {
		return nil, err
	}
	d := compare(old, next)
	if dry {
		return d.reply(), nil
	}
	if err := s.change(old, next, d); err != nil {
		return nil, err
	}
	reply := d.reply()
	s.log.Info("config reloaded", "started", strings.Join(reply.Started, " "), "stopped", strings.Join(reply.Stopped, " "),
		"restarted", strings.Join(reply.Restarted, " "), "changed", strings.Join(reply.Changed, " "))
	for _, what := range reply.AtNextStart {
		s.log.Warn("a change of the config takes effect when the supervisor starts again", "key", what)
	}
	return reply, nil
}

// difference is what a new config changes.
type difference struct {
	ports, workers changes
	settings       []string // keys of what is changed in place
	later          []string // keys of what takes effect when the supervisor starts again
}

// changes are names of ports, or of workers.
type changes struct{ started, stopped, restarted, inPlace []string }

func (d *difference) reply() *ipc.ReloadReply {
	name := func(kind string, names []string) (list []string) {
		for _, n := range names {
			list = append(list, kind+" "+n)
		}
		return list
	}
	both := func(of func(changes) []string) []string {
		return append(name("port", of(d.ports)), name("worker", of(d.workers))...)
	}
	return &ipc.ReloadReply{
		Started: both(func(c changes) []string { return c.started }), Stopped: both(func(c changes) []string { return c.stopped }),
		Restarted: both(func(c changes) []string { return c.restarted }),
		Changed:   append(both(func(c changes) []string { return c.inPlace }), d.settings...), AtNextStart: d.later,
	}
}

// compare finds what a new config changes. A port's readers depend on the ports that it forwards to, and a worker on its ports.
func compare(old *gateway, next *config.Config) *difference {
	d := &difference{}
	before := old.config
	for _, p := range before.Ports {
		if next.Port(p.Name) == nil {
			d.ports.stopped = append(d.ports.stopped, p.Name)
		}
	}
	for _, p := range next.Ports {
		switch {
		case before.Port(p.Name) == nil:
			d.ports.started = append(d.ports.started, p.Name)
		case !reflect.DeepEqual(portSpec(before, p.Name), portSpec(next, p.Name)):
			d.ports.restarted = append(d.ports.restarted, p.Name)
		}
	}
	for _, w := range before.Workers {
		if next.Worker(w.Name) == nil {
			d.workers.stopped = append(d.workers.stopped, w.Name)
		}
	}
	for _, w := range next.Workers {
		was := before.Worker(w.Name)
		switch {
		case was == nil:
			d.workers.started = append(d.workers.started, w.Name)
		case !reflect.DeepEqual(workerSpec(before, *was), workerSpec(next, w)):
			d.workers.restarted = append(d.workers.restarted, w.Name)
		case !reflect.DeepEqual(*was, w):
			d.workers.inPlace = append(d.workers.inPlace, w.Name)
		}
	}
	a, b := before.History, next.History
	for _, c := range []struct {
		key     string
		differs bool
		list    *[]string
	}{
		{"log.level", before.Log.Level != next.Log.Level, &d.settings},
		{"history.max_age", a.MaxAge != b.MaxAge, &d.settings},
		{"history.max_bytes", a.MaxBytes != b.MaxBytes, &d.settings},
		{"history.storage", a.Storage != b.Storage, &d.later},
		{"history.sync", a.Sync != b.Sync || a.SyncAlways != b.SyncAlways, &d.later},
		{"name", before.Name != next.Name, &d.later},
		{"subject_root", before.SubjectRoot != next.SubjectRoot, &d.later},
		{"state_dir", before.StateDir != next.StateDir, &d.later},
		{"log.format", before.Log.Format != next.Log.Format, &d.later},
		{"broker.users", !reflect.DeepEqual(before.Broker.Users, next.Broker.Users), &d.settings},
		{"broker", !reflect.DeepEqual(withoutUsers(before.Broker), withoutUsers(next.Broker)), &d.later},
		{"metrics", before.Metrics != next.Metrics, &d.later},
		{"max_bytes of a framing", longestFrame(next.Ports) > max(longestFrame(before.Ports), mostFrame), &d.later},
	} {
		if c.differs {
			*c.list = append(*c.list, c.key)
		}
	}
	return d
}

// mostFrame is the frame that the broker takes in any case, in bytes.
const mostFrame = 1 << 20

// portSpec is all that the processes of a port depend on: itself, and how the ports that it forwards to take frames.
func portSpec(c *config.Config, name string) []any {
	p := c.Port(name)
	spec := []any{*p, c.History.Storage}
	for _, to := range p.ForwardTo {
		if t := c.Port(to); t != nil {
			spec = append(spec, t.Queue, t.TxFraming)
		}
	}
	return spec
}

// workerSpec is all that a worker's process depends on. One that may have to do with all ports, and finds its way to them by
// itself, does not depend on which there are.
func workerSpec(c *config.Config, w config.Worker) []any {
	w.Restart, w.StopTimeout, w.After = "", 0, nil
	spec := []any{w}
	if w.Stdio {
		for _, p := range stdioPorts(w, c.Ports) {
			spec = append(spec, p)
		}
	}
	return spec
}

// change makes the gateway what the new config says. reloading must be held.
func (s *Supervisor) change(old *gateway, next *config.Config, d *difference) error {
	next = kept(old.config, next)
	if len(next.Workers) > 0 {
		s.adoptFamilies()
	}
	stopAll(old, d)
	problem := s.broker.SetQueues(s.life, queuesOf(next.Ports))
	if err := s.broker.LimitHistory(s.life, next.History.MaxAge, next.History.MaxBytes); problem == nil {
		problem = err
	}
	if err := s.broker.SetUsers(brokerUsers(old.config), brokerUsers(next)); problem == nil {
		problem = err
	}
	if s.options.SetLevel != nil {
		s.options.SetLevel(next.Log.Level)
	}
	g := &gateway{config: next}
	for _, c := range next.Ports {
		p := old.port(c.Name)
		if p == nil || slices.Contains(d.ports.restarted, c.Name) {
			fresh, err := s.preparePort(c, next.Ports, p.goOn(c))
			if err != nil { // there is no memory or there are no descriptors
				problem = errors.Join(problem, err)
				continue
			}
			p = fresh
		}
		g.ports = append(g.ports, p)
	}
	for _, w := range next.Workers {
		c := old.worker(w.Name)
		switch {
		case c == nil, slices.Contains(d.workers.restarted, w.Name):
			c = s.prepareWorker(w, next.Ports)
			s.board.addWorker(w.Name, time.Now())
		case slices.Contains(d.workers.inPlace, w.Name):
			c.orders.adopt(w)
		}
		g.workers = append(g.workers, c)
	}
	s.current.Store(g)
	s.board.arrange(g)
	stop := s.serving
	serving, err := s.serve(g) // before the old ones end, so that nobody finds none
	if err == nil {
		s.serving = serving
		stop()
	}
	problem = errors.Join(problem, err)
	s.begin(g, old)
	select {
	case s.devices <- struct{}{}:
	default:
	}
	if problem != nil {
		return fmt.Errorf("not all could be changed: %w", problem)
	}
	return nil
}

func withoutUsers(b config.Broker) config.Broker {
	b.Users = nil
	return b
}

// kept is the new config with what can only change at the next start as it was.
func kept(before, next *config.Config) *config.Config {
	c := *next
	c.Name, c.SubjectRoot, c.StateDir, c.Broker, c.Metrics, c.Log.Format = before.Name, before.SubjectRoot, before.StateDir, before.Broker, before.Metrics, before.Log.Format
	c.Broker.Users = next.Broker.Users
	c.History.Storage, c.History.Sync, c.History.SyncAlways = before.History.Storage, before.History.Sync, before.History.SyncAlways
	return &c
}

// stopAll stops what is gone or to begin anew, workers first.
func stopAll(g *gateway, d *difference) {
	var group sync.WaitGroup
	for _, name := range append(slices.Clone(d.workers.stopped), d.workers.restarted...) {
		group.Go(g.worker(name).unit.stop)
	}
	group.Wait()
	for _, name := range append(slices.Clone(d.ports.stopped), d.ports.restarted...) {
		p := g.port(name)
		group.Go(func() {
			p.unit.stop()
			p.lease.stop()
			p.handover.drop(name, deviceNames)
		})
	}
	group.Wait()
	for _, name := range d.ports.stopped {
		p := g.port(name)
		p.handover.drop(name, memoryNames)
		p.memory.close()
	}
}

// goOn is the memory of a port that was stopped, if it does for another config of it; p may be nil. With it counters and a lease
// go on too.
func (p *port) goOn(c config.Port) *memory {
	if p == nil {
		return nil
	}
	if p.memory.ring.Fits(sizesOf(c)) {
		return p.memory
	}
	p.handover.drop(c.Name, memoryNames)
	p.memory.close()
	return nil
}

// begin starts the ports and workers that are new.
func (s *Supervisor) begin(g, old *gateway) {
	for _, p := range g.ports {
		if old.port(p.config.Name) != p {
			s.startPort(s.portsLife, p)
		}
	}
	for _, c := range g.workers {
		if old.worker(c.config.Name) != c {
			s.startWorker(s.workLife, c)
		}
	}
}
