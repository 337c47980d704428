package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/systemd"
)

// Upgrade is what a supervisor leaves that has ended for the program in its place to take over: in the same process, with all
// devices open and the sessions of its ports.
type Upgrade struct {
	program string
	fds     map[string]int // of ports, by the names in handover
	environ []string
}

// checkLimit is how long the new program may take to check the config.
const checkLimit = 30 * time.Second

var errNoUpgrade = errors.New("this supervisor cannot be upgraded; stop it and start the new one")

// upgrade has the supervisor end for the program that now stands where its own stood, once that has found nothing wrong with the
// config. With an error all is as before.
func (s *Supervisor) upgrade() error {
	if s.options.Check == nil {
		return errNoUpgrade
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.ending || s.helping == nil {
		return errors.New("the supervisor is starting or stopping")
	}
	if _, err := findPrograms(s.programs.self); err != nil {
		return err
	}
	if err := s.checkProgram(); err != nil {
		return err
	}
	s.log.Info("upgrading", "program", s.programs.self)
	s.notify(systemd.Reloading()...)
	s.ending = true
	s.handover.upgrading.Store(true)
	for _, p := range s.gateway().ports {
		p.memory.ring.SetLasting(true)
	}
	s.stop()
	return nil
}

// checkProgram has the program where this one stood check the config.
func (s *Supervisor) checkProgram() error {
	var said printedBy
	p, err := s.spawner.Start(process.Command{
		Path: s.programs.self, Args: s.options.Check, Env: os.Environ(),
		Stdout: said.read, Stderr: said.read,
	})
	if err != nil {
		return fmt.Errorf("start the new program: %w", err)
	}
	select {
	case <-p.Exited:
	case <-time.After(checkLimit):
		p.Stop(0)
		return fmt.Errorf("%s %s has not ended within %s", s.programs.self, strings.Join(s.options.Check, " "), checkLimit)
	}
	p.AwaitOutput(time.Second)
	if r := result(p); r != "exit 0" {
		return fmt.Errorf("%s %s: %s: %s", s.programs.self, strings.Join(s.options.Check, " "), r, said.text)
	}
	return nil
}

// printedBy is what a program prints, on both outputs, up to a limit.
type printedBy struct {
	mu   sync.Mutex // guards text
	text string
}

func (p *printedBy) read(r io.Reader) {
	text, _ := io.ReadAll(io.LimitReader(r, 4096))
	_, _ = io.Copy(io.Discard, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = strings.TrimSpace(p.text + "\n" + string(text))
}

// answerUpgrade answers a request on Subjects.Upgrade. The supervisor stops after it.
func (s *Supervisor) answerUpgrade(r micro.Request) {
	err := s.upgrade()
	if err != nil {
		err = r.Error(strconv.Itoa(ipc.CodeBadRequest), strings.ReplaceAll(err.Error(), "\n", "; "), []byte(err.Error()))
	} else {
		err = r.RespondJSON(struct{}{})
	}
	if err != nil {
		s.log.Debug("an upgrade was not answered", "error", err)
	}
}

// leave is what the next program goes on with, or nil if none is to. No port runs any more.
func (s *Supervisor) leave() *Upgrade {
	if s.handover == nil || !s.handover.upgrading.Load() {
		return nil
	}
	u := &Upgrade{program: s.programs.self, fds: map[string]int{}, environ: append(os.Environ(), s.handover.manager.Environ()...)}
	for _, p := range s.gateway().ports {
		m := p.memory
		add(u.fds, p.config.Name, memoryNames, int(m.file.Fd()), m.rx.R, m.rx.W, m.tx.R, m.tx.W)
		if p.left != nil {
			keeper, reader, writer := p.left.Descriptors()
			add(u.fds, p.config.Name, deviceNames, keeper, reader, writer)
		}
	}
	return u
}

func add(fds map[string]int, port string, names []string, list ...int) {
	for i, name := range names {
		fds[port+name] = list[i]
	}
}

// Exec replaces this process with the new program, called in the same way. It returns with an error only.
func (u *Upgrade) Exec() error {
	variable, err := systemd.PassOn(u.fds)
	if err != nil {
		return err
	}
	// Until the new program listens to them they would end it.
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR2)
	if err := syscall.Exec(u.program, os.Args, append(u.environ, variable)); err != nil {
		return fmt.Errorf("start %s in place of this program: %w", u.program, err)
	}
	return nil
}
