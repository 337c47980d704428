// Package supervisor opens ports, has reader and writer processes run for each, and answers for all of them. It stands
// beside the flow of bytes: it never reads or writes a device.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/fleet"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/serialio"
	"github.com/serialvisor/serialvisor/internal/telemetry"
)

// Options are what the command line adds to a config.
type Options struct {
	StateDir string
	Version  string
	Log      *slog.Logger
	// SetLevel, if set, changes what is logged.
	SetLevel func(slog.Level)
	// Check are the arguments with which a program that is to take over checks the config; nil: none takes over.
	Check []string
	// Ready, if set, is called once when the broker answers and the ports are being opened.
	Ready func(broker ipc.BrokerStatus)
}

// Supervisor is a running gateway.
type Supervisor struct {
	options  Options
	log      *slog.Logger
	subjects ipc.Subjects
	started  time.Time
	board    *board
	spawner  *process.Spawner
	turns    turns
	hangups  *serialio.HangupWatcher
	programs programs
	family   string // what the marks of its workers' families begin with
	broker   *broker.Broker
	handover *handover
	queues   *queues
	expiry   *expiry
	uplink   *fleet.Uplink                    // nil: there is no hub
	metrics  atomic.Pointer[telemetry.Server] // nil: none
	round    atomic.Pointer[time.Time]        // when watchLosses came round last
	current  atomic.Pointer[gateway]
	begun    atomic.Bool    // all ports and workers run, or wait to
	unheard  atomic.Bool    // the service manager has not taken what it was told last
	signals  chan os.Signal // for followSignals
	devices  chan struct{}  // holds a value when other devices are to be watched
	folder   *folder
	roles    []broker.Grant  // of ipc.Roles
	late     context.Context // ends when a stop has no time left for more
	beLate   func()          // ends late
	overdue  func()          // ends the supervisor although something hangs

	portsRun, workersRun sync.WaitGroup // of what runs of ports and workers

	asked     context.Context    // ends when somebody has asked for the end
	stop      context.CancelFunc // begins the end
	reloading sync.Mutex         // held while ports and workers are replaced; guards all below
	life      context.Context    // ends when a stop begins
	workLife  context.Context    // of workers, which ends then too, but for an upgrade
	portsLife context.Context    // of ports, which is longer
	helping   context.Context    // of what workers need still when they end; nil: not yet
	ending    bool
	serving   func()          // ends the endpoints; nil: there are none
	adopted   bool            // families of workers are seen to
	keeper    *process.Keeper // of their guard; nil: none
	helpers   errgroup.Group
}

// gateway is what the config makes at the moment.
func (s *Supervisor) gateway() *gateway { return s.current.Load() }

// Run runs a gateway until asked ends, then stops everything in order. If it was stopped for another program to take over it
// returns what that needs, beside an error if not everything could be stopped. It must be called on the main goroutine, locked to
// the main thread: workers are started from there, and would die with any other thread.
func Run(asked context.Context, c *config.Config, options Options) (next *Upgrade, err error) {
	asked, end := context.WithCancel(asked)
	if takeVariable(stopVariable) {
		end() // the program before was asked, when it was too late for it
	}
	ctx, stop := context.WithCancel(asked)
	defer stop()
	s := &Supervisor{
		options: options, log: options.Log, subjects: ipc.Subjects{Root: c.SubjectRoot}, started: time.Now(),
		board: &board{}, spawner: process.NewSpawner(), turns: newTurns(), devices: make(chan struct{}, 1), asked: asked, stop: stop,
	}
	s.handover = newHandover(s.spawner, s.log)
	defer s.handover.abandon()
	// From now on, so that none is missed before followSignals runs: after an upgrade they are ignored till then.
	s.signals = make(chan os.Signal, 1)
	signal.Notify(s.signals, restingSignals...)
	defer func() {
		if next == nil { // else they would end the process before the next program is there
			signal.Stop(s.signals)
			end()
		}
	}()
	leaveProcessors()
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the folder of the supervisor: %w", err)
	}
	if s.programs, err = findPrograms(self); err != nil {
		return nil, err
	}
	folder, err := openFolder(options.StateDir)
	if err != nil {
		return nil, orFull(options.StateDir, err)
	}
	spawning, stopSpawning := context.WithCancel(context.Background())
	s.late, s.beLate = context.WithCancel(context.Background())
	s.overdue = stopSpawning
	ended := make(chan error, 1)
	go func() { // waited for below, unless a disk or a driver holds it in the kernel
		defer stopSpawning() // after the last worker is gone
		defer folder.close()
		s.folder = folder
		ended <- s.run(ctx, c)
	}()
	if err := s.spawner.Run(spawning); err != nil {
		return nil, errors.Join(err, <-ended)
	}
	select {
	case err := <-ended:
		return s.leave(), withRemedy(orFull(folder.path, err))
	default:
	}
	if state, problem := s.broker.Store(); state != ipc.StoreOK {
		return s.leave(), fmt.Errorf("not all could be closed within %s: %s", stopLimit, problem)
	}
	return s.leave(), fmt.Errorf("not all could be closed within %s: the disk under %s, or the driver of a device, does not answer", stopLimit, options.StateDir)
}

// withRemedy says what the user can do about an error that can come up anywhere.
func withRemedy(err error) error {
	if errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("%w (raise the limit: ulimit -n 65536, or LimitNOFILE=65536 in the service's unit)", err)
	}
	return err
}

const (
	// stopLate is how long after the end of the user's workers what is left to be published is given up and counted.
	stopLate = 4 * time.Second
	// stopLimit is when the supervisor ends whatever still hangs.
	stopLimit = 4700 * time.Millisecond
)

// leaveProcessors leaves half of the machine's processors to the workers and to those who listen, which all wake up when a
// frame passes: a broker that spreads over all of them comes in their way, and a frame takes a tenth longer.
func leaveProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}

// run starts what there is in order, and stops it in the reverse order: workers of the user's own, ports with theirs, endpoints,
// broker.
func (s *Supervisor) run(ctx context.Context, c *config.Config) (err error) {
	starting, started := s.starting(ctx)
	defer started()
	if s.hangups, err = serialio.NewHangupWatcher(); err != nil {
		return err
	}
	if err := s.listenMetrics(c.Metrics.Listen); err != nil {
		return err
	}
	defer s.closeMetrics()
	if s.broker, err = s.startBroker(starting, c); err != nil {
		if starting.Err() != nil {
			return nil
		}
		return err
	}
	defer s.broker.Shutdown()
	s.queues = &queues{broker: s.broker}
	s.uplink = newUplink(s.broker, c, s.folder.path, s.log)
	s.expiry = newExpiry(starting, s.broker, s.folder, func(name string) *port { return s.gateway().port(name) }, s.log)
	if s.family = s.handover.family; s.family == "" {
		if s.family, err = s.folder.newFamily(); err != nil {
			return err
		}
	}
	g := &gateway{config: c}
	for _, port := range c.Ports {
		p, err := s.preparePort(port, c.Ports, nil)
		if err != nil {
			return err
		}
		g.ports = append(g.ports, p)
	}
	s.handover.finish(g.ports)
	for _, w := range c.Workers {
		s.board.addWorker(w.Name, s.started)
		g.workers = append(g.workers, s.prepareWorker(w, c.Ports))
	}
	if err := s.inheritWorkers(g); err != nil {
		return err
	}
	s.current.Store(g)
	if s.serving, err = s.serve(g); err != nil {
		return err
	}
	defer s.stopServing()
	if err := s.folder.writeCredentials(s.broker, s.roles); err != nil {
		return err
	}
	s.folder.upgraded()
	s.log.Info("ready", "name", c.Name, "broker", s.broker.URL(), "state_dir", s.folder.path, "ports", len(g.ports))
	if s.options.Ready != nil {
		s.options.Ready(ipc.BrokerStatus{URL: s.broker.URL(), Store: ipc.StoreOK})
	}
	return s.keep(ctx, g)
}

// keep runs all ports and workers until ctx ends.
func (s *Supervisor) keep(ctx context.Context, g *gateway) error {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	group, running := errgroup.WithContext(running)
	helping, stopHelping := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		stopHelping()
		_ = s.helpers.Wait() // they return nil
		if s.keeper != nil && !s.handover.upgrading.Load() {
			s.keeper.End()
		}
	}()
	working, endWorkers := context.WithCancelCause(context.WithoutCancel(ctx))
	defer endWorkers(nil)
	s.reloading.Lock()
	s.life, s.workLife, s.portsLife, s.helping = ctx, working, running, helping
	for _, c := range g.workers {
		c.takeOver(working)
	}
	s.handover.taken()
	for _, p := range g.ports {
		s.startPort(running, p)
	}
	if len(g.workers) > 0 {
		s.adoptFamilies()
	}
	for _, c := range g.workers {
		s.startWorker(working, c)
	}
	s.reloading.Unlock()
	s.begun.Store(true)
	stop := context.AfterFunc(running, s.boundStop)
	defer stop()
	begun := time.Now()
	s.round.Store(&begun)
	group.Go(func() error { return s.hangups.Run(running) })
	group.Go(func() error { return s.watchDevices(running) })
	group.Go(func() error { return s.broker.Watch(running, s.noteStore, s.storeMended) })
	group.Go(func() error { return s.watchLosses(running) })
	group.Go(func() error { return s.expiry.Run(running) })
	group.Go(func() error { return s.followSignals(running) })
	group.Go(func() error { return s.tellManager(running) })
	telling, endTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer endTelling()
	if s.uplink != nil {
		group.Go(func() error { return s.uplink.Run(telling) })
	}
	group.Go(func() error { return s.serveMetrics(running, g.config.Metrics.Listen) })
	select {
	case <-ctx.Done():
	case <-running.Done(): // one of them has failed
	}
	s.log.Info("stopping")
	s.reloading.Lock()
	s.ending = true
	s.reloading.Unlock()
	if !s.handover.upgrading.Load() {
		// The user's workers end first: they may have a last word for their devices.
		endWorkers(nil)
		s.notify("STOPPING=1")
		s.workersRun.Wait()
	}
	for _, c := range s.gateway().workers {
		c.awaitHalt() // it may take longer than all that follows
	}
	end()
	s.portsRun.Wait()
	s.stayAfterAll()
	endTelling()
	// With an upgrade they have got all that was received.
	if s.handover.upgrading.Load() {
		endWorkers(errPassedOn)
	}
	endWorkers(nil)
	s.workersRun.Wait()
	err := group.Wait()
	s.expiry.finish(s.late)
	s.log.Info("stopped")
	return err
}

// stopServing ends the endpoints.
func (s *Supervisor) stopServing() {
	s.serving()
	for _, p := range s.gateway().ports {
		p.lease.stop()
	}
}

// boundStop sees to it that a stop which begins now ends in time, whatever hangs.
func (s *Supervisor) boundStop() {
	time.AfterFunc(stopLate, s.beLate)
	time.AfterFunc(stopLimit, s.overdue)
}

// noteStore has all readers and writers know whether the store stores.
func (s *Supervisor) noteStore(stores bool) {
	for _, p := range s.gateway().ports {
		p.memory.ring.NoteStore(stores)
	}
}

// storeMended has writers ask for frames again, as the store has forgotten that they had, and tells the history what it may
// have missed. The store may have been deleted with all of the state folder; what was lost with the history is counted.
func (s *Supervisor) storeMended(lost map[string]broker.Loss) {
	if err := s.folder.restore(); err != nil {
		s.log.Error("the state folder was deleted: programs that are started now find no credentials in it", "error", err, "remedy", "restart the supervisor")
	}
	if s.uplink != nil {
		s.uplink.Renew()
	}
	for _, p := range s.gateway().ports {
		if l, any := lost[p.config.Name]; any {
			s.log.Warn("frames that were stored are lost with the history", "port", p.config.Name, "received", l.Received, "sent", l.Sent)
			p.memory.ring.CountLostHistory(l.Received)
			p.memory.ring.CountLostSent(l.Sent)
		}
		p.renewWriter()
		p.tellAgain()
	}
}
