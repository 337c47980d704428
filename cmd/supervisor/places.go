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

// stateDirOf is the state folder: --state-dir, else the config's, else the system's. c may be nil.
func (p *places) stateDirOf(c *config.Config) string {
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
	var c *config.Config
	if p.stateDir == "" {
		c, _ = p.load()
	}
	return client.Place{StateDir: p.stateDirOf(c), Environ: p.stateDir == "" && p.config == ""}
}
