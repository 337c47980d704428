package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/printout"
	"github.com/serialvisor/serialvisor/internal/process"
	"github.com/serialvisor/serialvisor/internal/systemd"
)

// Upgrade is what a supervisor leaves that has ended for the program in its place to take over: in the same process, with all
// devices open and the sessions of its ports.
type Upgrade struct {
	program string
	fds     map[string]int // of ports and workers, by the names in handover and legacy
	environ []string
	owner   *Supervisor // has the files that they belong to, which would be closed with it
}

// checkLimit is how long a new program may take to check the config, or to say its version.
const checkLimit = 30 * time.Second

var (
	errNoUpgrade  = errors.New("this supervisor cannot be upgraded; stop it and start the new one")
	errNotRunning = errors.New("the supervisor is starting or stopping")
	errUpgrading  = errors.New("an upgrade is under way")
)

// upgrade has the supervisor end for the program that now stands where its own stood, once that has found nothing wrong with the
// config. With an error all is as before.
func (s *Supervisor) upgrade() error {
	if s.options.Check == nil {
		return errNoUpgrade
	}
	life, err := s.alive()
	if err != nil {
		return err
	}
	if _, err := findPrograms(s.programs.self); err != nil {
		return err
	}
	// Not while reloading is held: a stop that waited for it would be late.
	if err := s.checkPrograms(life); err != nil {
		return err
	}
	if err := s.beginUpgrade(); err != nil {
		return err
	}
	s.notify(systemd.Reloading()...)
	s.stop()
	return nil
}

// beginUpgrade has no reload begin any more, and what stops be passed on.
func (s *Supervisor) beginUpgrade() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := s.mayUpgrade(); err != nil {
		return err
	}
	if err := s.folder.upgrade(); err != nil { // a full disk is no reason not to
		s.log.Warn("programs that are started during the upgrade may find no supervisor", "error", err)
	}
	s.log.Info("upgrading", "program", s.programs.self)
	s.ending = true
	s.handover.upgrading.Store(true)
	for _, p := range s.gateway().ports {
		p.memory.ring.SetLasting(true)
	}
	return nil
}

// alive returns the life of the gateway, which ends when a stop begins.
func (s *Supervisor) alive() (context.Context, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.life, s.mayUpgrade()
}

// mayUpgrade is an error when the supervisor is not at work. reloading must be held.
func (s *Supervisor) mayUpgrade() error {
	switch {
	case s.handover.upgrading.Load():
		return errUpgrading
	case s.ending || s.helping == nil:
		return errNotRunning
	}
	return nil
}

// checkPrograms has the program where this one stood check the config, and that each of the three runs and belongs to the others, unless
// life ends before.
func (s *Supervisor) checkPrograms(life context.Context) error {
	if _, err := s.try(life, s.programs.self, s.options.Check); err != nil {
		return err
	}
	want := ""
	for _, path := range []string{s.programs.self, s.programs.reader, s.programs.writer} {
		said, err := s.try(life, path, []string{"--version"})
		if err != nil {
			return err
		}
		words := strings.Fields(said)
		if len(words) == 0 {
			return fmt.Errorf("%s --version says nothing: it is no program of serialvisor", path)
		}
		version := words[len(words)-1]
		if want == "" {
			want = version
		}
		if version != want {
			return fmt.Errorf("%s has version %s, and the supervisor beside it %s: install all three programs of one version", path, version, want)
		}
	}
	return nil
}

// try runs a program that must end with exit code 0, and returns what it says, unless life ends before.
func (s *Supervisor) try(life context.Context, path string, args []string) (string, error) {
	var said printout.Output
	collect := func(r io.Reader) {
		_, _ = io.Copy(&said, io.LimitReader(r, 4096))
		_, _ = io.Copy(io.Discard, r)
	}
	p, err := s.spawner.Start(process.Command{Path: path, Args: args, Env: os.Environ(), Stdout: collect, Stderr: collect})
	if err != nil {
		return "", fmt.Errorf("start the new program: %w", err)
	}
	select {
	case <-p.Exited:
	case <-life.Done():
		p.Stop(0)
		return "", errNotRunning
	case <-time.After(checkLimit):
		p.Stop(0)
		return "", fmt.Errorf("%s %s has not ended within %s", path, strings.Join(args, " "), checkLimit)
	}
	p.AwaitOutput(time.Second)
	if p.ExitCode() != 0 {
		return "", fmt.Errorf("%s %s: %s: %s", path, strings.Join(args, " "), result(p), strings.TrimSpace(said.String()))
	}
	return said.String(), nil
}

// answerUpgrade answers a request on Subjects.Upgrade. The supervisor stops after it.
func (s *Supervisor) answerUpgrade(r micro.Request) {
	err := s.upgrade()
	if err != nil {
		err = answerError(r, err)
	} else {
		err = r.RespondJSON(struct{}{})
	}
	if err != nil {
		s.log.Debug("an upgrade was not answered", "error", err)
	}
}

// stayAfterAll has the supervisor stop for good if it was asked to while it stopped for another program. No port runs any more.
func (s *Supervisor) stayAfterAll() {
	if s.asked.Err() == nil || !s.handover.upgrading.Swap(false) {
		return
	}
	s.log.Info("there is no upgrade, as the supervisor is to stop")
	s.folder.upgraded()
	s.notify("STOPPING=1")
	s.handover.endWaiting(func(string) bool { return false })
	var closing sync.WaitGroup
	for _, p := range s.gateway().ports {
		p.memory.ring.SetLasting(s.handover.lasting())
		if p.idle != nil && !s.handover.lasting() {
			closing.Go(p.letGo)
		}
	}
	closing.Wait()
}

// leave is what the next program goes on with, or nil if none is to. No port runs any more. Whoever asks for the end from now on
// is heard by the next program, which ends everything in order: here it would come too late for workers that were passed on.
func (s *Supervisor) leave() *Upgrade {
	if !s.handover.upgrading.Load() {
		return nil
	}
	u := &Upgrade{owner: s, program: s.programs.self, fds: map[string]int{}, environ: append(os.Environ(), s.handover.manager.Environ()...)}
	for _, p := range s.gateway().ports {
		add(u.fds, p.config.Name, memoryNames, p.memory.descriptors()...)
		if p.idle != nil {
			keeper, reader, writer := p.idle.Descriptors()
			add(u.fds, p.config.Name, deviceNames, keeper, reader, writer)
		}
	}
	fds, err := s.bequeath()
	if err != nil {
		s.log.Warn("workers are started anew", "error", err)
		s.endLeft()
	}
	maps.Copy(u.fds, fds)
	return u
}

// endLeft has workers of the user's own end that were to go on with the next program.
func (s *Supervisor) endLeft() {
	var left []*bequest
	for _, c := range s.gateway().workers {
		if c.left != nil {
			left = append(left, c.left)
		}
	}
	endAll(s.spawner, left)
}

func add(fds map[string]int, port string, names []string, list ...int) {
	for i, name := range names {
		fds[port+name] = list[i]
	}
}

// thisProgram is the program that runs, also when another has taken its name.
const thisProgram = "/proc/self/exe"

// Exec replaces this process with the new program, called in the same way, or with the one that runs if the new one does not start
// after all. Before that it calls cease, after which whoever asks for the end ends the process at once. It returns with an error only, when
// all has ended in order that was to go on. It must be called on the main thread.
func (u *Upgrade) Exec(cease func()) error {
	defer runtime.KeepAlive(u.owner)
	err := u.exec(cease)
	u.owner.endLeft()
	return err
}

func (u *Upgrade) exec(cease func()) error {
	variable, err := systemd.PassOn(u.fds)
	if err != nil {
		return err
	}
	// Until the new program listens to them they would end it.
	signal.Ignore(restingSignals...)
	cease()
	environ := append(u.environ, variable)
	if u.owner.asked.Err() != nil {
		environ = append(environ, stopVariable+"=1")
	}
	err = fmt.Errorf("start %s in place of this program: %w", u.program, syscall.Exec(u.program, os.Args, environ))
	fmt.Fprintf(os.Stderr, "supervisor: there is no upgrade, and the program before goes on: %v\n", err)
	return errors.Join(err, syscall.Exec(thisProgram, os.Args, environ))
}

// stopVariable tells the next program that it is to stop.
const stopVariable = "SERIALVISOR_STOP"

// takeVariable says whether a variable of the environment is set, which concerns no child.
func takeVariable(name string) bool {
	_, set := os.LookupEnv(name)
	_ = os.Unsetenv(name)
	return set
}

// restingSignals ask for a reload and for an upgrade. While nobody is there to follow them they are ignored.
var restingSignals = []os.Signal{syscall.SIGHUP, syscall.SIGUSR2}
