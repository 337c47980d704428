package ipc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Environment of every worker. NATS_* have the meaning that the nats command line gives them.
const (
	EnvURL         = "NATS_URL"
	EnvUser        = "NATS_USER"
	EnvPassword    = "NATS_PASSWORD"
	EnvInboxPrefix = "NATS_INBOX_PREFIX"
	EnvWorker      = "SERIALVISOR_WORKER"
	EnvRoot        = "SERIALVISOR_ROOT"
	EnvPorts       = "SERIALVISOR_PORTS"
	envSpec        = "SERIALVISOR_SPEC" // JSON of a Spec; built-in workers only

	EnvNotify      = "NOTIFY_SOCKET" // as in sd_notify(3)
	EnvWatchdog    = "WATCHDOG_USEC"
	EnvWatchdogPID = "WATCHDOG_PID"

	// EnvFirstFD is where the descriptors of a built-in worker begin that goes on in the process of another; else FDFirst.
	EnvFirstFD = "SERIALVISOR_FIRST_FD"
)

// FDFirst is the first descriptor of a built-in worker beside the standard streams.
const FDFirst = 3

// Descriptors that a built-in worker is born with, beside 0 to 2, for Descriptor.
const (
	FDDevice    = FDFirst // the tty, non-blocking, an open file description of its own
	FDRing      = 4       // a memfd with the port's ring.Ring
	FDReady     = 5       // a pipe: the worker writes Ready to it, then closes it
	FDPipeRead  = 6       // the pipe that the worker moves bytes through, non-blocking
	FDPipeWrite = 7
	FDBell      = 8  // an eventfd by which the reader wakes the writer
	FDReceived  = 9  // the reading end of the reader's pipe, for the writer to count what is in it
	FDSuccessor = 10 // a socket on which it is told what goes on in its process, see Successor
	FDBroker    = 11 // a connected socket to the broker, for the credentials in the environment
	FDSecond    = 12 // another, for Spec.Second
)

// Descriptor is where one of those is in this process.
func Descriptor(fd int) int {
	if first, err := strconv.Atoi(os.Getenv(EnvFirstFD)); err == nil {
		return fd - FDFirst + first
	}
	return fd
}

// Ready is what a worker writes to FDReady when it is connected and at work; the same line as in sd_notify(3).
const Ready = "READY=1\n"

// Exit codes of the built-in workers.
const (
	ExitOK         = 0
	ExitFailed     = 1 // start me again
	ExitUsage      = 2 // not started by a supervisor
	ExitDeviceGone = 3 // the device hung up: not a crash, the port decides what follows
	ExitAgain      = 4 // start me again at once: not a crash
)

// Spec is what the supervisor tells one of its own workers, beyond the environment that every worker has.
// Reader and writer are told the same, and each uses what concerns its direction.
type Spec struct {
	Port    string          `json:"port"`
	Session string          `json:"session"`
	Framing json.RawMessage `json:"framing"`           // a frame.Spec, which this package must not know; of the worker's direction
	Answers json.RawMessage `json:"answers,omitempty"` // writer: the same of what is received
	History string          `json:"history"`           // the stream that stores what is published, if any

	// Key is part of the ids of frames that are forwarded, see ForwardID.
	Key string `json:"key,omitempty"`

	// Second is an account on the other side of the broker: for the writer TRAFFIC, where it publishes sent; for the
	// reader CONTROL, where it forwards to. Empty if the worker has no business there.
	Second Credentials `json:"second"`

	// NotBefore is when the device takes frames: it may start with its port. The writer holds them till then.
	NotBefore time.Time `json:"not_before,omitzero"`

	Forward []Target `json:"forward,omitempty"` // reader: where frames are queued besides
	Queue   *Target  `json:"queue,omitempty"`   // writer: what it consumes
}

// Target is the way to a port's device: a queue stream, or with an empty Stream its writer itself over plain NATS.
type Target struct {
	Port        string `json:"port"`
	Stream      string `json:"stream,omitempty"`
	Consumer    string `json:"consumer,omitempty"`
	MaxMessages int64  `json:"max_messages,omitempty"`
	MaxBytes    int    `json:"max_bytes"`         // of one message with its headers
	Framing     string `json:"framing,omitempty"` // type of the frames that it is sent

	MaxAge time.Duration `json:"max_age,omitempty"` // of a frame when it is sent; 0: any
}

// Credentials let a client into one account of the broker.
type Credentials struct {
	URL         string `json:"url,omitempty"`
	User        string `json:"user,omitempty"`
	Password    string `json:"password,omitempty"`
	InboxPrefix string `json:"inbox_prefix,omitempty"`
	Root        string `json:"root,omitempty"` // of the gateway's subjects
}

// passedOn is what a worker gets of the supervisor's environment.
var passedOn = []string{"PATH", "HOME", "LANG", "TZ", "USER"}

// Environ is the environment of a worker's process: its own variables, and of the supervisor's only what every
// program needs.
func Environ(worker string, ports []string, c Credentials, spec *Spec) ([]string, error) {
	env := []string{
		EnvURL + "=" + c.URL, EnvUser + "=" + c.User, EnvPassword + "=" + c.Password,
		EnvInboxPrefix + "=" + c.InboxPrefix, EnvRoot + "=" + c.Root,
		EnvWorker + "=" + worker, EnvPorts + "=" + strings.Join(ports, ","),
	}
	for _, name := range passedOn {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	if spec != nil {
		b, err := json.Marshal(spec)
		if err != nil {
			return nil, fmt.Errorf("worker %s: encode spec: %w", worker, err)
		}
		env = append(env, envSpec+"="+string(b))
	}
	return env, nil
}

// ErrNotWorker is returned by FromEnviron in a process that no supervisor has started.
var ErrNotWorker = errors.New("this program is started by the supervisor, not by hand: run `supervisor run`")

// FromEnviron is the counterpart of Environ in the worker.
func FromEnviron() (Credentials, *Spec, error) {
	c := Credentials{
		URL: os.Getenv(EnvURL), User: os.Getenv(EnvUser), Password: os.Getenv(EnvPassword),
		InboxPrefix: os.Getenv(EnvInboxPrefix), Root: os.Getenv(EnvRoot),
	}
	text := os.Getenv(envSpec)
	if text == "" || c.URL == "" {
		return c, nil, ErrNotWorker
	}
	spec := new(Spec)
	if err := json.Unmarshal([]byte(text), spec); err != nil {
		return c, nil, fmt.Errorf("decode %s: %w", envSpec, err)
	}
	return c, spec, nil
}
