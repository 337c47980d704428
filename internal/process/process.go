package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to start.
type Command struct {
	Path string   // of the program
	Args []string // without the program's name
	Dir  string   // where it runs; empty: where the supervisor does
	Env  []string

	Stdin uintptr   // what it reads; 0: nothing
	Files []uintptr // its further descriptors, from 3 on; they stay the caller's
	// Mark is a variable with its value that stands in Env of this process and in no other's. All that descends from the
	// process inherits it, and is known by it. Empty: it has no children.
	Mark string
	// Into, if set, has a process that waits for it become the program, instead of a new one: it hands over the descriptors from
	// 0 on and returns the process's number. With an error a new one is started.
	Into func(files []uintptr) (pid int, err error)
	// Outlives says that the process goes on when the supervisor dies, in a session of its own.
	Outlives bool

	// Stdout and Stderr read what the process prints, to the end. Each is called once, in a goroutine of its own.
	Stdout, Stderr func(io.Reader)
}

// Process is one run of a program.
type Process struct {
	*os.Process
	Started time.Time
	Exited  <-chan struct{} // closed when it is reaped, and what it left behind is dead

	drained  <-chan struct{} // closed when all that it printed is read
	mark     string
	state    *os.ProcessState // set when Exited is closed; nil: not known
	starved  bool             // the kernel has killed it for want of memory; set when Exited is closed
	output   sync.WaitGroup
	dead     atomic.Bool // it is reaped, and what it has left behind may not be dead
	detached atomic.Bool // nobody reads the output any more, though there is more to come
	pipes    []*os.File  // our ends
}

// Start starts a program. The process is reaped without further ado.
func (s *Spawner) Start(c Command) (*Process, error) {
	exited, drained := make(chan struct{}), make(chan struct{})
	p := &Process{Started: time.Now(), Exited: exited, drained: drained, mark: c.Mark}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	if c.Stdin == 0 {
		c.Stdin = null.Fd()
	}
	files := []uintptr{c.Stdin}
	for _, name := range []string{"stdout", "stderr"} {
		ours, theirs, err := Pipe(name)
		if err != nil {
			p.closePipes()
			return nil, err
		}
		defer func() { _ = unix.Close(theirs) }()
		p.pipes, files = append(p.pipes, ours), append(files, uintptr(theirs))
	}
	if p.Process, err = s.start(c, append(files, c.Files...)); err != nil {
		p.closePipes()
		return nil, err
	}
	p.readOutput(c.Stdout, c.Stderr)
	go p.reap(s, exited, drained) // ends with the process and its output, for which Wait waits
	return p, nil
}

// Adopted is a child that a program before this one, in this process, has started.
type Adopted struct {
	PID     int
	Started time.Time
	Mark    string // as in Command
	// Output are our ends of the pipes that it prints to, with those who read them as in Command; nil: nobody does.
	Output         []int
	Stdout, Stderr func(io.Reader)
}

// Adopt goes on with a process. It owns the descriptors.
func (s *Spawner) Adopt(a Adopted) (*Process, error) {
	exited, drained := make(chan struct{}), make(chan struct{})
	p := &Process{Started: a.Started, Exited: exited, drained: drained, mark: a.Mark}
	for _, fd := range a.Output {
		f, err := OurEnd(fd, "output")
		if err != nil {
			p.closePipes()
			return nil, fmt.Errorf("process %d: %w", a.PID, err)
		}
		p.pipes = append(p.pipes, f)
	}
	// It may have been reaped before it was passed on, and its number be another's.
	err := unix.Waitid(unix.P_PID, a.PID, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err == nil {
		p.Process, err = s.adopt(a.PID)
	}
	if err != nil {
		s.reaped(a.PID)
		p.closePipes()
		if a.Mark != "" {
			s.killFamily(a.Mark, a.Started)
		}
		return nil, fmt.Errorf("process %d is gone: %w", a.PID, err)
	}
	if p.pipes != nil {
		p.readOutput(a.Stdout, a.Stderr)
	}
	go p.reap(s, exited, drained) // ends with the process and its output
	return p, nil
}

// readOutput has what the process prints be read.
func (p *Process) readOutput(readers ...func(io.Reader)) {
	for i, f := range p.pipes {
		p.output.Go(func() { readers[i](output{f, p}) })
	}
}

// ErrDetached ends the output of a process that lives on, see Detach.
var ErrDetached = errors.New("the process is another program's now")

// output is what a process prints. It ends with io.EOF when the process is dead, though another may print there still.
type output struct {
	pipe *os.File
	p    *Process
}

func (o output) Read(b []byte) (int, error) {
	n, err := o.pipe.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if err = io.EOF; o.p.detached.Load() {
			err = ErrDetached
		}
	}
	return n, err
}

// Detach ends what reads the output of a process that lives on in the hands of another program, and returns our ends of its
// pipes, which are the caller's. What reads it gets ErrDetached; if it takes longer than a time to end, hurry is called, which must end it.
func (p *Process) Detach(limit time.Duration, hurry func()) (output []int, err error) {
	p.detached.Store(true)
	for _, f := range p.pipes {
		if err := f.SetReadDeadline(time.Now()); err != nil {
			return nil, err
		}
	}
	late := time.AfterFunc(limit, hurry)
	p.output.Wait()
	late.Stop()
	for _, f := range p.pipes {
		fd, err := Duplicate(f)
		if err != nil {
			return nil, err
		}
		output = append(output, fd)
	}
	return output, nil
}

// OurEnd is the supervisor's end of a pipe that was passed on.
func OurEnd(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("pipe for %s on descriptor %d: %w", name, fd, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Duplicate is another descriptor of a file or connection, which is left as it is. It is the caller's, who passes it on: the other
// is closed when a process ends, at any moment.
func Duplicate(f syscall.Conn) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	if cerr := raw.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, cerr
	}
	return fd, err
}

// Pipe makes a pipe whose read end is the supervisor's and non-blocking, and whose write end is a worker's and blocking.
func Pipe(name string) (ours *os.File, theirs int, err error) { return pipe(name, 0) }

// PipeTo is Pipe in the other direction: the supervisor writes, a worker reads.
func PipeTo(name string) (ours *os.File, theirs int, err error) { return pipe(name, 1) }

// pipe makes one of which an end is ours, 0 to read or 1 to write.
func pipe(name string, end int) (ours *os.File, theirs int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, fmt.Errorf("pipe for %s: %w", name, err)
	}
	if err := unix.SetNonblock(fds[end], true); err != nil {
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		return nil, -1, fmt.Errorf("pipe for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fds[end]), name), fds[1-end], nil
}

// lastOutput is how long is read what a process has printed that is gone: what is in its pipes, and no more than that if
// somebody else holds their other ends.
const lastOutput = 2 * time.Second

// reap waits for the process alone: a grandchild that holds its output does not delay the news.
func (p *Process) reap(s *Spawner, exited, drained chan<- struct{}) {
	awaitExit(p.Pid)
	state, err := p.Process.Wait()
	if err == nil {
		p.state = state
	}
	s.reaped(p.Pid)
	p.dead.Store(true)
	p.starved = p.killed() && s.starved()
	// What the family has left is killed with it; an empty group gives an error.
	_ = unix.Kill(-p.Pid, unix.SIGKILL)
	if p.mark != "" {
		s.killFamily(p.mark, p.Started)
	}
	close(exited)
	for _, f := range p.pipes {
		awaitRead(f, lastOutput)
		_ = f.SetReadDeadline(time.Now())
	}
	p.output.Wait()
	p.closePipes()
	close(drained)
}

// awaitExit waits for the end of a child, without a thread of its own as a system call that waits would take: there may be hundreds.
// If that cannot be had it returns at once.
func awaitExit(pid int) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) // since Linux 5.10
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "process")
	defer func() { _ = f.Close() }()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool { // an error means that it cannot be waited for like this
		var end unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, int(fd), &end, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err != nil && err != unix.EAGAIN && err != unix.EINTR || err == nil && end.Signo != 0
	})
}

// awaitRead waits until a pipe is empty, for a time.
func awaitRead(f *os.File, limit time.Duration) {
	raw, err := f.SyscallConn()
	for end := time.Now().Add(limit); err == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		var waiting int
		if cerr := raw.Control(func(fd uintptr) { waiting, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); cerr != nil || waiting == 0 {
			return
		}
	}
}

// AwaitOutput waits until all is read that the process has printed, which is dead, for a time.
func (p *Process) AwaitOutput(limit time.Duration) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-p.drained:
	case <-timeout.C:
	}
}

func (p *Process) closePipes() {
	for _, f := range p.pipes {
		_ = f.Close()
	}
}

// killLimit is how long a process may take to end by SIGKILL: one that is in a system call which cannot be interrupted ends
// with the call, and is reaped then.
const killLimit = 500 * time.Millisecond

// Stop asks the process and its children to end and makes them, after patience. It returns false if even that has not helped
// yet.
func (p *Process) Stop(patience time.Duration) bool {
	p.Ask()
	if p.EndsWithin(patience) {
		return true
	}
	p.Kill()
	return p.EndsWithin(killLimit)
}

// Ask asks the process and its children to end.
func (p *Process) Ask() {
	if p.HasExited() {
		return // the number may be another's
	}
	// Both fail if it ends in this moment. One that somebody has stopped would know nothing of the first without the second.
	_ = unix.Kill(-p.Pid, unix.SIGTERM)
	_ = unix.Kill(-p.Pid, unix.SIGCONT)
}

// Kill makes the process and its children end. Those that have left its group are seen to when it is dead.
func (p *Process) Kill() {
	if p.HasExited() {
		return
	}
	_ = unix.Kill(-p.Pid, unix.SIGKILL)
}

// EndsWithin waits for the end of the process, for a time.
func (p *Process) EndsWithin(limit time.Duration) bool {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-p.Exited:
		return true
	case <-timeout.C:
		return false
	}
}

// HasExited says whether the process has ended.
func (p *Process) HasExited() bool {
	select {
	case <-p.Exited:
		return true
	default:
		return false
	}
}

// Reaped says whether the process itself has ended, though what it has left behind may not have.
func (p *Process) Reaped() bool { return p.dead.Load() }

// Starved says whether the kernel has killed the process for want of memory.
func (p *Process) Starved() bool { return p.HasExited() && p.starved }

// Killed says whether the process ended by SIGKILL.
func (p *Process) Killed() bool { return p.HasExited() && p.killed() }

func (p *Process) killed() bool {
	if p.state == nil {
		return false
	}
	status, ok := p.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// ExitCode is the code with which the process ended; -1 if a signal ended it, or nobody knows.
func (p *Process) ExitCode() int {
	if p.state == nil {
		return -1
	}
	return p.state.ExitCode()
}

// State is how the process ended, or nil.
func (p *Process) State() *os.ProcessState { return p.state }
