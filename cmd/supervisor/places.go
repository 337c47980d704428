package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/config"
)

// places are the flags that say where things are.
type places struct{ config, stateDir string }

// load reads the config that --config names, or the one that is found.
func (p *places) load() (*config.Config, error) {
	path := p.config
	if path == "" {
		found, err := config.Find()
		if err != nil {
			return nil, usageError{err}
		}
		path = found
	}
	c, err := config.Load(path)
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) {
		return nil, usageError{err}
	}
	return c, err
}

// stateDirOf is the path of the state folder, from the root on, as it is shown to who may be elsewhere: --state-dir, else the config's,
// else the system's. c may be nil.
func (p *places) stateDirOf(c *config.Config) string {
	dir := p.stateDirIn(c)
	if whole, err := filepath.Abs(dir); err == nil { // else the current folder was deleted
		return whole
	}
	return dir
}

func (p *places) stateDirIn(c *config.Config) string {
	switch {
	case p.stateDir != "":
		return p.stateDir
	case c != nil && c.StateDir != "":
		return c.StateDir
	case os.Geteuid() == 0:
		return "/var/lib/serialvisor"
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, _ := os.UserHomeDir() // without one it is a relative path, which is as good as any
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "serialvisor")
}

// running is where client verbs find the supervisor. A config is of interest only for its state_dir: a broken one does
// not stop anybody from talking to a supervisor that runs.
func (p *places) running() client.Place {
	place := client.Place{Environ: p.stateDir == "" && p.config == ""}
	var c *config.Config
	if p.stateDir == "" {
		var problems config.Problems
		if c, place.Trouble = p.load(); errors.As(place.Trouble, &problems) {
			c = &config.Config{StateDir: config.StateDirIn(problems[0].File)}
		} else if p.config == "" {
			place.Trouble = nil // there is none, and needs not be
		}
	}
	place.StateDir = p.stateDirOf(c)
	return place
}
