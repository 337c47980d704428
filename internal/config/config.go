// Package config turns the configuration file into values that are valid, or says everything that is wrong with it.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/serialvisor/serialvisor/internal/devices"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// Config is a whole configuration, with defaults filled in.
type Config struct {
	Path        string // of the file
	Name        string // of this gateway; default: the host name
	SubjectRoot string // first tokens of all subjects
	StateDir    string // empty if the file does not say; else absolute
	Log         Log
	Broker      Broker
	History     History
	Metrics     Metrics
	Ports       []Port   // in the file's order
	Workers     []Worker // in the file's order
}

// Log is what is logged, and how.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Storage is where a stream is kept.
type Storage string

// The storages.
const (
	File   Storage = "file"
	Memory Storage = "memory"
	None   Storage = "none" // nowhere
)

// History is how traffic is kept.
type History struct {
	Storage    Storage
	MaxAge     time.Duration // 0: for ever
	MaxBytes   int64
	Sync       time.Duration // how long until what is stored is on the disk for sure
	SyncAlways bool          // at once
}

// Metrics is where figures and health are asked for.
type Metrics struct {
	Listen string // host:port; empty: nowhere
}

// Port is one serial port.
type Port struct {
	Name      string
	Device    string            // path; empty if USB says which
	USB       *devices.Identity // what to look for, wherever it turns up; or nil
	Settings  serialio.Settings
	Settle    time.Duration // after opening, in which nothing is sent
	Framing   frame.Spec
	TxFraming frame.Spec // of what is sent
	ForwardTo []string   // ports for which received frames are queued
	Queue     Queue
}

// Queue is how frames wait to be sent.
type Queue struct {
	Storage     Storage
	MaxMessages int64
	MaxAge      time.Duration // 0: for ever
}

// Port is one of the ports, or nil.
func (c *Config) Port(name string) *Port {
	if i := slices.IndexFunc(c.Ports, func(p Port) bool { return p.Name == name }); i >= 0 {
		return &c.Ports[i]
	}
	return nil
}

// portNames are those of all ports.
func (c *Config) portNames() (names []string) {
	for _, p := range c.Ports {
		names = append(names, p.Name)
	}
	return names
}

// besideFile is a path as it is meant in the config: from the folder of its file on.
func (c *Config) besideFile(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.Path), path)
}

// Worker is one of the workers, or nil.
func (c *Config) Worker(name string) *Worker {
	if i := slices.IndexFunc(c.Workers, func(w Worker) bool { return w.Name == name }); i >= 0 {
		return &c.Workers[i]
	}
	return nil
}

// defaults is a Config as it is when the file says nothing.
func defaults(path string) *Config {
	name, err := os.Hostname()
	if err != nil {
		name = "serialvisor"
	}
	return &Config{
		Path: path, Name: name, SubjectRoot: "serial",
		Log:     Log{Level: slog.LevelInfo, Format: "text"},
		Broker:  Broker{Listen: "127.0.0.1:4222", Leaf: defaultLeaf()},
		History: History{Storage: File, MaxAge: 24 * time.Hour, MaxBytes: 256 << 20, Sync: 2 * time.Second},
	}
}

// defaultPort is a Port as it is when the file says nothing but its name.
func defaultPort(name string) Port {
	return Port{
		Name:      name,
		Settings:  serialio.DefaultSettings(),
		Framing:   frame.Default(),
		TxFraming: frame.Default(),
		Queue:     Queue{Storage: File, MaxMessages: 10000},
	}
}

// searched are the places where a config is looked for.
var searched = []string{"./serialvisor.yaml", "/etc/serialvisor/serialvisor.yaml"}

// Find returns the path of the config file: the first of the usual places that exists.
func Find() (string, error) {
	for _, path := range searched {
		if _, err := os.Stat(path); err == nil {
			return filepath.Clean(path), nil
		}
	}
	return "", fmt.Errorf("there is no %s and no %s; name a file with --config, copy serialvisor.example.yaml, or try `supervisor demo`", searched[0], searched[1])
}

// Load reads a file. The error is of type Problems if its content is wrong.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	var p *fs.PathError
	if errors.As(err, &p) {
		return nil, &fs.PathError{Op: "read config", Path: path, Err: p.Err}
	}
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// StateDirIn is the state_dir of a file in which something else may be wrong; empty: it is not to be found.
func StateDirIn(path string) string {
	data, err := readFile(path)
	if err != nil {
		return ""
	}
	c, conf := &collector{file: path}, defaults(path)
	if root := c.parseYAML(data); root != nil {
		c.config(root, conf)
	}
	return conf.StateDir
}

// readFile reads no more of a file than shows that it is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, largestFile+1))
}
