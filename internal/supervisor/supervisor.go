// Package supervisor opens ports, has reader and writer processes run for each, and answers for all of them. It stands
// beside the flow of bytes: it never reads or writes a device.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/devices"
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
	// Ready, if set, is called once when the broker answers and the ports are being opened.
	Ready func(broker ipc.BrokerStatus)
}

// Supervisor is a running gateway.
type Supervisor struct {
	config   *config.Config
	options  Options
	log      *slog.Logger
	subjects ipc.Subjects
	started  time.Time
	board    *board
	broker   *broker.Broker
	handover *handover
	ports    []*port   // in the config's order
	workers  []*custom // the user's own, in the config's order
	queues   *queues
	metrics  *telemetry.Server         // nil: none
	round    atomic.Pointer[time.Time] // when watchLosses came round last
}

// Run runs a gateway until ctx ends, then stops everything in order. It must be called on the main goroutine, locked to
// the main thread: workers are started from there, and would die with any other thread.
func Run(ctx context.Context, c *config.Config, options Options) error {
	s := &Supervisor{
		config: c, options: options, log: options.Log, subjects: ipc.Subjects{Root: c.SubjectRoot}, started: time.Now(),
		board: &board{},
	}
	leaveProcessors()
	programs, err := findPrograms()
	if err != nil {
		return err
	}
	folder, err := openFolder(options.StateDir)
	if err != nil {
		return err
	}
	defer folder.close()
	spawner := process.NewSpawner()
	spawning, stopSpawning := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error {
		defer stopSpawning() // after the last worker is gone
		return s.run(ctx, folder, spawner, programs)
	})
	return withRemedy(errors.Join(spawner.Run(spawning), group.Wait()))
}

// withRemedy says what the user can do about an error that can come up anywhere.
func withRemedy(err error) error {
	if errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("%w (raise the limit: ulimit -n 65536, or LimitNOFILE=65536 in the service's unit)", err)
	}
	return err
}

// leaveProcessors leaves half of the machine's processors to the workers and to those who listen, which all wake up when a
// frame passes: a broker that spreads over all of them comes in their way, and a frame takes a tenth longer.
func leaveProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}

// run starts what there is in order, and stops it in the reverse order: ports with their workers, endpoints, broker.
func (s *Supervisor) run(ctx context.Context, folder *folder, spawner *process.Spawner, programs programs) (err error) {
	hangups, err := serialio.NewHangupWatcher()
	if err != nil {
		return err
	}
	if address := s.config.Metrics.Listen; address != "" {
		if s.metrics, err = telemetry.Listen(address, s.log); err != nil {
			return err
		}
		defer s.metrics.Close()
		s.log.Info("metrics", "url", s.metrics.URL())
	}
	if s.broker, err = broker.Start(ctx, s.brokerOptions()); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer s.broker.Shutdown()
	s.handover = newHandover(s.log)
	s.queues = &queues{broker: s.broker}
	if err := s.preparePorts(spawner, hangups, programs); err != nil {
		return err
	}
	family, err := folder.newFamily()
	if err != nil {
		return err
	}
	s.prepareWorkers(spawner, family)
	stopServing, err := s.serve()
	if err != nil {
		return err
	}
	defer stopServing()
	if err := folder.writeCredentials(s.broker); err != nil {
		return err
	}
	s.log.Info("ready", "name", s.config.Name, "broker", s.broker.URL(), "state_dir", folder.path, "ports", len(s.ports))
	if s.options.Ready != nil {
		s.options.Ready(ipc.BrokerStatus{URL: s.broker.URL(), Store: ipc.StoreOK})
	}
	stopping := context.AfterFunc(ctx, func() { s.log.Info("stopping") })
	defer stopping()
	// The user's workers end first: they may have a last word for their devices.
	workersGone, running, err := s.runWorkers(ctx, spawner, programs.self, family)
	if err != nil {
		return err
	}
	defer workersGone()
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return hangups.Run(running) })
	group.Go(func() error { return s.watchDevices(running) })
	group.Go(func() error { return s.broker.Watch(running, s.storeMended) })
	begun := time.Now()
	s.round.Store(&begun)
	group.Go(func() error { return s.watchLosses(running) })
	group.Go(func() error { return newExpiry(s.broker, s.ports, s.log).Run(running) })
	if s.metrics != nil {
		group.Go(func() error { return s.metrics.Run(running, s) })
	}
	for _, p := range s.ports {
		group.Go(func() error { return p.line.Run(running) })
		group.Go(func() error { return p.Run(running) })
	}
	err = group.Wait()
	s.log.Info("stopped")
	return err
}

// storeMended has writers ask for frames again, as the store has forgotten that they had, and tells the history what it may
// have missed.
func (s *Supervisor) storeMended() {
	for _, p := range s.ports {
		p.renewWriter()
		p.tellAgain()
	}
}

// watchDevices has ports that wait for their device look again as soon as one may have come. Without it they still look
// once in a while.
func (s *Supervisor) watchDevices(ctx context.Context) error {
	var paths []string
	for _, p := range s.ports {
		if p.config.Device != "" {
			paths = append(paths, p.config.Device)
		}
	}
	watcher, err := devices.NewWatcher(paths)
	if err == nil {
		err = watcher.Run(ctx, func() {
			for _, p := range s.ports {
				p.wakeUp()
			}
		})
	}
	if err != nil {
		s.log.Warn("devices that come back are noticed late", "error", err, "within", retryCap)
	}
	return nil
}

// preparePorts makes all ports, without touching a device.
func (s *Supervisor) preparePorts(spawner *process.Spawner, hangups *serialio.HangupWatcher, programs programs) error {
	txFramings := map[string]string{}
	for _, c := range s.config.Ports {
		txFramings[c.Name] = c.TxFraming.Type
	}
	for _, c := range s.config.Ports {
		memory, err := s.handover.memory(c)
		if err != nil {
			return fmt.Errorf("port %s: %w", c.Name, err)
		}
		framing, err := json.Marshal(c.Framing)
		if err != nil {
			return fmt.Errorf("port %s: framing: %w", c.Name, err)
		}
		p := &port{
			config: c, subjects: s.subjects, txFramings: txFramings, history: s.broker.HistoryStream(), broker: s.broker, spawner: spawner, hangups: hangups,
			programs: programs, board: s.board, log: s.log, handover: s.handover, memory: memory, line: newLine(), wake: make(chan struct{}, 1),
			renew: make(chan struct{}, 1),
			lease: &lease{port: c.Name, ring: memory.ring, broker: s.broker, news: s.subjects.Leased(c.Name), log: s.log},
		}
		s.board.addPort(ipc.PortStatus{
			Name: c.Name, Device: p.deviceName(), State: ipc.Closed, Line: c.Settings.Line.String(), Framing: framing,
		}, s.started)
		p.inherited, p.inheritedSession = s.handover.device(c, memory)
		s.ports = append(s.ports, p)
	}
	s.handover.finish()
	return nil
}

func (s *Supervisor) brokerOptions() broker.Options {
	h := s.config.History
	o := broker.Options{
		Name: s.config.Name, Listen: s.config.Broker.Listen, StateDir: s.options.StateDir, Root: s.config.SubjectRoot, Log: s.log,
		History: broker.History{
			Off: h.Storage == config.None, Memory: h.Storage == config.Memory, MaxAge: h.MaxAge, MaxBytes: h.MaxBytes,
			Sync: h.Sync, SyncAlways: h.SyncAlways,
		},
	}
	for _, p := range s.config.Ports {
		o.Queues = append(o.Queues, broker.Queue{
			Port: p.Name, Off: p.Queue.Storage == config.None, MaxFrame: p.TxFraming.MaxBytes,
			Limits: broker.Limits{Memory: p.Queue.Storage == config.Memory, MaxMessages: p.Queue.MaxMessages, MaxAge: p.Queue.MaxAge},
		})
		o.MaxFrame = max(o.MaxFrame, p.Framing.MaxBytes, p.Framing.Bytes, p.TxFraming.MaxBytes)
	}
	return o
}

// programs are the paths of the worker programs.
type programs struct{ self, reader, writer string }

// findPrograms finds the worker programs, which lie beside the supervisor.
func findPrograms() (programs, error) {
	self, err := os.Executable()
	if err != nil {
		return programs{}, fmt.Errorf("find the folder of the supervisor: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return programs{}, fmt.Errorf("find the folder of the supervisor: %w", err)
	}
	p := programs{self, filepath.Join(filepath.Dir(self), "reader"), filepath.Join(filepath.Dir(self), "writer")}
	for _, path := range []string{p.reader, p.writer} {
		if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return programs{}, fmt.Errorf("%s is missing: the programs supervisor, reader and writer belong into one folder; run go build -o bin/ ./cmd/... to build them", path)
		}
	}
	return p, nil
}
