package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/stdio"
)

// life is one run of a custom worker's process, with all that belongs to it.
type life struct {
	*custom
	process *process.Process
	grant   broker.Grant
	mark    string           // of its family
	socket  *process.Notices // nil: it says nothing
	notices chan process.Notice
	output  *printed
	bridge  *stdio.Bridge // nil: it finds its own way to the bus
	stdin   *os.File      // what the bridge writes to
	group   errgroup.Group
	hurry   func()   // ends what waits for others
	release []func() // in this order, when the process is dead

	ready   bool
	alive   bool   // it has said WATCHDOG=1 since it was ready
	ordered bool   // to end
	reason  string // why else it was made to end; empty: it was not
}

// newLife is one without a process. An empty password makes a new one for its connection.
func (c *custom) newLife(password string) *life {
	l := &life{
		custom: c, notices: make(chan process.Notice), grant: c.broker.WorkerGrant(c.config.Name, c.config.Role, c.config.Ports),
		output: newPrinted(c.broker, c.subjects, c.log, c.config.Name, false),
	}
	if password != "" {
		l.grant.Password = password
	}
	return l
}

// start starts the process, with credentials of its own.
func (c *custom) start(ctx context.Context) (_ *life, err error) {
	path, err := c.config.Program()
	if err != nil {
		return nil, err
	}
	l := c.newLife("")
	l.ready, l.mark = !c.config.Notify, fmt.Sprintf("%s%s.%d.", c.family, c.config.Name, c.runs)
	defer func() {
		if err != nil {
			l.free()
		}
	}()
	command := process.Command{Path: path, Args: c.config.Command[1:], Dir: c.config.Directory, Mark: l.mark}
	if command.Env, err = ipc.Environ(c.config.Name, portNames(c.ports), c.broker.Credentials(l.grant), nil); err != nil {
		return nil, err
	}
	command.Env = append(append(command.Env, c.config.Env...), l.mark)
	if c.config.Notify || c.config.Watchdog > 0 {
		if l.socket, err = process.ListenNotices(); err != nil {
			return nil, err
		}
		command.Env = append(command.Env, ipc.EnvNotify+"="+l.socket.Address)
	}
	if c.config.Watchdog > 0 {
		command.Env = append(command.Env, ipc.EnvWatchdog+"="+strconv.FormatInt(c.config.Watchdog.Microseconds(), 10))
	}
	if c.config.Stdio {
		stdin, theirs, err := process.PipeTo("stdin")
		if err != nil {
			return nil, err
		}
		defer func() { _ = unix.Close(theirs) }()
		l.stdin, command.Stdin = stdin, uintptr(theirs)
	}
	running, err := l.connect(ctx, stdio.State{ID: c.config.Name + "." + rand.Text()})
	if err != nil {
		return nil, err
	}
	command.Stdout, command.Stderr = l.stdout(running), l.output.stderr
	if l.process, err = c.spawner.Start(command); err != nil {
		return nil, err
	}
	l.listen(running)
	c.log.Debug("worker started", "worker", c.config.Name, "pid", l.process.Pid)
	return l, nil
}

// connect lets the process into the broker, or connects its standard streams with it. The context ends with its life.
func (l *life) connect(ctx context.Context, state stdio.State) (running context.Context, err error) {
	running, l.hurry = context.WithCancel(context.WithoutCancel(ctx))
	if l.socket != nil {
		l.release = append(l.release, l.socket.Close)
	}
	l.release = append(l.release, l.hurry)
	if l.stdin == nil {
		l.broker.Grant(l.grant)
		return running, nil
	}
	// A write that a process does not take ends when the pipe is closed.
	l.release = append(l.release, func() { _ = l.stdin.Close() })
	conn, err := l.broker.Connect(l.grant)
	if err != nil {
		return nil, err
	}
	l.release = append(l.release, conn.Close)
	l.bridge = &stdio.Bridge{Conn: conn, Subjects: l.subjects, Ports: l.ports, Log: l.log.With("worker", l.config.Name), Detached: process.ErrDetached, State: state}
	end, err := l.bridge.Feed(l.stdin)
	if err != nil {
		return nil, err
	}
	l.release = slices.Insert(l.release, 0, end)
	return running, nil
}

// stdout is who reads what the process prints.
func (l *life) stdout(running context.Context) func(io.Reader) {
	if l.bridge == nil || l.config.Role == ipc.RoleTap {
		return l.output.stdout
	}
	return func(r io.Reader) { l.bridge.Take(running, r) }
}

// listen begins to hear what the process says, and notes that there is one.
func (l *life) listen(running context.Context) {
	if l.socket != nil {
		l.group.Go(func() error {
			l.socket.Receive(func(n process.Notice) {
				select {
				case l.notices <- n:
				case <-running.Done():
				}
			})
			return nil
		})
	}
	if l.bridge != nil {
		l.group.Go(func() error { l.bridge.Resume(); return nil })
	}
	l.note(func(s *ipc.WorkerStatus) {
		s.State, s.PID, s.Since, s.Message = ipc.WorkerStarting, l.process.Pid, l.process.Started, ""
		if l.ready {
			s.State = ipc.WorkerRunning
		}
	})
}

// watch sees to the process until it is dead. innocent says that it was at work and was killed from outside.
func (l *life) watch(ctx context.Context) (innocent bool) {
	var startTimeout, watchdog time.Duration
	if l.ready {
		watchdog = l.config.Watchdog
	} else {
		startTimeout = l.config.StartTimeout
	}
	starting, alive := newAlarm(startTimeout), newAlarm(watchdog)
	defer starting.Stop()
	defer alive.Stop()
	for {
		select {
		case <-l.process.Exited:
			// A worker that was at work and was killed from outside, or hung, is replaced at once. One that has taken too much
			// memory will do so again.
			return l.ready && l.process.Killed() && !l.process.Starved() && (l.reason == "" || l.alive)
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), errPassedOn) || !l.passOn() {
				l.halt()
			}
			return false
		case <-l.orders.news:
			o := l.orders.take(&l.config)
			if o == nil {
				continue
			}
			if o.action == ipc.StartWorker {
				o.answer(nil) // it runs
				continue
			}
			l.ordered, l.pending, l.wanted = true, o, o.action == ipc.RestartWorker
			l.halt()
			return false
		case n := <-l.notices:
			l.hear(n, starting, alive)
		case <-starting.C:
			l.kill(fmt.Sprintf("it did not say READY=1 within %s", l.config.StartTimeout))
		case <-alive.C:
			l.kill(fmt.Sprintf("it did not say WATCHDOG=1 within %s", l.config.Watchdog))
		}
	}
}

// newAlarm is a timer; with 0 it does not go off before it is reset.
func newAlarm(after time.Duration) *time.Timer {
	if after > 0 {
		return time.NewTimer(after)
	}
	never := time.NewTimer(time.Hour)
	never.Stop()
	return never
}

// hear takes a notice in.
func (l *life) hear(n process.Notice, starting, alive *time.Timer) {
	if n.Ready && !l.ready {
		l.ready = true
		starting.Stop()
		l.note(func(s *ipc.WorkerStatus) { s.State = ipc.WorkerRunning })
		n.Alive = true
	}
	if n.HasStatus {
		l.note(func(s *ipc.WorkerStatus) { s.Message = shortened(n.Status) })
	}
	switch {
	case n.Trigger:
		l.kill("it said WATCHDOG=trigger")
	case n.Extend > 0 && !l.ready:
		starting.Reset(n.Extend)
	case l.config.Watchdog > 0 && l.ready && n.Extend > 0:
		alive.Reset(max(n.Extend, l.config.Watchdog))
	case l.config.Watchdog > 0 && l.ready && n.Alive:
		l.alive = l.alive || !n.Ready
		alive.Reset(l.config.Watchdog)
	}
}

// shortened makes a text fit for a table: what would move a terminal's cursor, or change its colours, is written out.
func shortened(s string) string {
	var text strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if text.Len() > shortenedMost {
			return text.String() + "…"
		}
		if unicode.IsPrint(r) {
			text.WriteRune(r)
		} else {
			text.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return text.String()
}

// shortenedMost is about how many bytes of a text are shown.
const shortenedMost = 200

// kill ends a process that does not do as it must.
func (l *life) kill(reason string) {
	if l.reason == "" {
		l.reason = reason
		l.process.Kill()
	}
}

// halt has the process end, and waits for that.
func (l *life) halt() {
	l.halting.Lock()
	defer l.halting.Unlock()
	l.note(func(s *ipc.WorkerStatus) { s.State = ipc.WorkerStopping })
	if !l.process.Stop(l.config.StopTimeout) {
		if l.process.Reaped() {
			l.log.Warn("worker has ended, and what it has started is being killed", "worker", l.config.Name, "pid", l.process.Pid)
		} else {
			l.log.Error("worker does not end, a system call holds it", "worker", l.config.Name, "pid", l.process.Pid)
		}
		<-l.process.Exited // there must not be two
	}
}

// awaitHalt returns when no process is being made to end.
func (c *custom) awaitHalt() {
	c.halting.Lock()
	defer c.halting.Unlock()
}

// lastWords is how long may take what a process has printed last: lines that go to a queue wait for it.
const lastWords = 5 * time.Second

// end frees what belonged to the process, which is dead, and words how it ended.
func (l *life) end() string {
	l.free()
	if l.reason != "" {
		return fmt.Sprintf("killed: %s", l.reason)
	}
	return result(l.process)
}

func (l *life) free() {
	if l.process != nil {
		l.process.AwaitOutput(lastWords)
	}
	for _, release := range l.release {
		release()
	}
	_ = l.group.Wait() // of what ends with the process
	if err := l.broker.RevokeWorker(l.grant.Name, true); err != nil {
		l.log.Warn("a dead worker's credentials may be valid still", "worker", l.config.Name, "error", err)
	}
}
