package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/devices"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

const (
	// retryFirst and retryCap are how soon and how often a device that cannot be opened is tried again.
	retryFirst = 50 * time.Millisecond
	retryCap   = time.Second
	// slowOpen is how long an open may take until it is reported.
	slowOpen = 3 * time.Second
	// closeLimit is how long the supervisor waits for a device to close, which takes long when it drains slowly: drivers can take 30 s.
	closeLimit = time.Second
)

// port is one configured port: it waits for the device, opens it, has reader and writer run while it is open, and begins
// again when it is gone. Run's goroutine alone changes its state.
type port struct {
	config     config.Port
	subjects   ipc.Subjects
	history    string            // stream; empty: none
	txFramings map[string]string // types of what the gateway's ports are sent, by name
	broker     *broker.Broker
	spawner    *process.Spawner
	turns      turns
	hangups    *serialio.HangupWatcher
	programs   programs
	board      *board
	log        *slog.Logger

	handover    *handover
	idle        *serialio.Port // open and in nobody's hands: of the supervisor before, or for the next one; nil: none
	idleSession string

	memory *memory
	lease  *lease
	line   *line
	held   atomic.Pointer[held] // nil while no device is open
	wake   chan struct{}        // holds a value when the device may have come
	renew  chan struct{}        // holds a value when the writer is to be replaced

	expiry  *expiry
	writing atomic.Bool // a writer runs that tells of frames in its hands which have expired
	lasting atomic.Bool // a session has begun and not ended: a frame that was begun is finished in it

	unit unit
	late <-chan struct{} // closed when a stop of the supervisor has no time left for more

	telling    sync.Mutex // held while the state is changed or published; guards all below
	told       bool       // the state was published
	lossTold   uint64     // what was last published of lostHistory
	lossLogged time.Time

	device  string        // path of the device that is or was open; empty before and where usb: finds none
	closing chan struct{} // closed when the last device is closed, which may be long after it was let go
}

// wakeUp has the port look for its device now, if it waits for it.
func (p *port) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// renewWriter has the writer, if there is one, finish the frame in hand, and another take over. A writer without a queue
// does not depend on the store.
func (p *port) renewWriter() {
	if p.broker.Target(p.config.Name).Stream == "" {
		return
	}
	select {
	case p.renew <- struct{}{}:
	default:
	}
}

// deviceName is the path of the device, or else what is looked for.
func (p *port) deviceName() string {
	switch {
	case p.config.Device != "":
		return p.config.Device
	case p.device != "":
		return p.device
	}
	return p.config.USB.String()
}

// Run keeps the port until ctx ends.
func (p *port) Run(ctx context.Context) error {
	wait := retryFirst
	if p.idle == nil {
		p.drain(p.idleSession)
	}
	for ctx.Err() == nil {
		begun := time.Now()
		device, session, err := p.openOrGoOn(ctx)
		if err == nil {
			p.session(ctx, device, session)
			if time.Since(begun) > retryCap {
				wait = retryFirst
			}
		} else if ctx.Err() == nil {
			p.enter(stateOf(err), "", p.words(err))
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
			wait = retryFirst // udev may not be done with it
		case <-time.After(wait):
			wait = min(2*wait, retryCap)
		}
	}
	if p.held.Load() == nil {
		p.enter(ipc.Closed, "", "")
	}
	return nil
}

// openOrGoOn opens the device and begins a session, or goes on with the one of the supervisor before.
func (p *port) openOrGoOn(ctx context.Context) (*serialio.Port, string, error) {
	if device := p.idle; device != nil {
		p.idle = nil
		p.device = device.Handover().Device
		return device, p.idleSession, nil
	}
	device, err := p.open(ctx)
	if err != nil {
		return nil, "", err
	}
	session := ipc.SessionAt(time.Now())
	err = p.memory.newSession()
	if err == nil {
		err = p.handover.opened(p.config, p.memory, device, session)
	}
	if err != nil {
		p.close(device)()
		return nil, "", err
	}
	return device, session, nil
}

// stateOf is the one place that decides what an error of opening means for a port.
func stateOf(err error) ipc.State {
	switch {
	case errors.Is(err, serialio.ErrMissing), errors.Is(err, serialio.ErrHangup):
		return ipc.Missing
	case errors.Is(err, serialio.ErrBusy):
		return ipc.Busy
	}
	return ipc.Failed
}

// words are an error of opening, with what the user can do about it.
func (p *port) words(err error) string {
	if text := withRemedy(err).Error(); !errors.Is(err, serialio.ErrMissing) || p.config.USB != nil { // which says what there is
		return text
	}
	return err.Error() + "; plug it in, or correct device: (`supervisor ports` lists what there is)"
}

// open opens the device aside, as a driver can take long over it. There is never more than one open under way.
func (p *port) open(ctx context.Context) (*serialio.Port, error) {
	type result struct {
		path string
		port *serialio.Port
		err  error
	}
	if p.closing != nil {
		select {
		case <-p.closing:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	opened := make(chan result, 1)
	go func() { // open waits for it, or leaves it to the kernel when the supervisor ends
		var r result
		if r.path, r.err = p.locate(); r.err == nil {
			r.port, r.err = p.openAt(r.path)
		}
		opened <- r
	}()
	slow := time.NewTimer(slowOpen)
	defer slow.Stop()
	for {
		select {
		case r := <-opened:
			p.device = r.path
			return r.port, r.err
		case <-slow.C:
			p.enter(ipc.Failed, "", fmt.Sprintf("open %s: the driver has not answered for %s", p.deviceName(), slowOpen))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// locate finds the device's path.
func (p *port) locate() (string, error) {
	if p.config.USB == nil {
		return p.config.Device, nil
	}
	found, err := devices.Find(*p.config.USB)
	return found.Path, err
}

// openAt opens the device at a path. A path that usb: has led to may have become another device's meanwhile.
func (p *port) openAt(path string) (*serialio.Port, error) {
	device, err := serialio.Open(path, p.config.Settings)
	if err != nil {
		return nil, err
	}
	if again, err := p.locate(); err != nil || again != path {
		device.Close()
		return nil, errors.Join(fmt.Errorf("open %s: %w: it was replaced meanwhile", path, serialio.ErrMissing), err)
	}
	return device, nil
}

// close begins to give the device back, all descriptors at once: with one left open it would come back under another
// name. The returned function waits until that is done, but no longer than closeLimit, and not while a stop is late.
func (p *port) close(device *serialio.Port) (wait func()) {
	p.held.Store(nil)
	p.hangups.Forget(device.Keeper())
	p.handover.closed(p.config)
	closed := make(chan struct{})
	p.closing = closed
	go func() { // the next open waits for it
		defer close(closed)
		device.Close()
	}()
	return func() {
		limit := time.NewTimer(closeLimit)
		defer limit.Stop()
		select {
		case <-closed:
		case <-p.late:
		case <-limit.C:
			p.log.Warn("the device takes long to close", "port", p.config.Name, "device", p.deviceName())
		}
	}
}

// enter notes a change of state, tells everybody and keeps it in the history. Nobody is told when only the words for a
// missing device change.
func (p *port) enter(state ipc.State, session, problem string) {
	p.telling.Lock()
	defer p.telling.Unlock()
	now := time.Now().UTC()
	changed := false
	p.board.port(p.config.Name, func(s *ipc.PortStatus) {
		if s.State == state && s.Session == session && s.Error == problem && p.told {
			return
		}
		changed = s.State != state || state != ipc.Missing || !p.told
		if !changed {
			s.Error = problem
			return
		}
		p.told = true
		s.State, s.Session, s.Error, s.Since = state, session, problem, now
		s.Device = p.deviceName()
		if h := p.held.Load(); h != nil {
			s.Line, s.LowLatency = h.port.Line().String(), h.port.LowLatency()
		} else {
			s.Line, s.LowLatency, s.Modem, s.LineErrors = p.config.Settings.Line.String(), false, nil, ipc.LineErrors{}
		}
		s.LineChanged = false
	})
	if !changed {
		return
	}
	level := slog.LevelInfo
	if problem != "" {
		level = slog.LevelWarn
	}
	attrs := []any{"port", p.config.Name, "state", string(state), "device", p.deviceName()}
	if problem != "" {
		attrs = append(attrs, "error", problem)
	}
	p.log.Log(context.Background(), level, "port", attrs...)
	p.publishState()
}
