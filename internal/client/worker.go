package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// orderAnswerLimit is how long the supervisor may take over an order: a worker may take its time to end.
const orderAnswerLimit = 10 * time.Minute

// Worker has a worker started, stopped or restarted, see ipc.StartWorker, and returns how it stands when that is done.
func (c *Client) Worker(ctx context.Context, name, action string) (status ipc.WorkerStatus, err error) {
	if name == "" || strings.ContainsAny(name, ".*> \t\r\n") {
		return status, c.errUnknownWorker(ctx, name)
	}
	err = c.ask(ctx, "worker "+name, orderAnswerLimit, nats.NewMsg(c.Subjects.Worker(name, action)), nil, &status)
	if errors.Is(err, errDenied) {
		return status, c.deniedAdmin(action + " worker " + name)
	}
	if nobodyAnswers(err) {
		return status, c.errUnknownWorker(ctx, name)
	}
	return status, err
}

// errUnknownWorker says which workers there are.
func (c *Client) errUnknownWorker(ctx context.Context, name string) error {
	_, s, err := c.StatusJSON(ctx)
	if err != nil {
		return err
	}
	builtIn := func(w ipc.WorkerStatus) bool { return strings.Contains(w.Name, "/") }
	if slices.ContainsFunc(s.Workers, func(w ipc.WorkerStatus) bool { return w.Name == name && builtIn(w) }) {
		return fmt.Errorf("worker %s belongs to its port, which starts and stops it", name)
	}
	if slices.Contains(PortNames(s), name) {
		return fmt.Errorf("%s is a port, which is open whenever its device is there; workers can be started and stopped", name)
	}
	names := WorkerNames(s)
	if len(names) == 0 {
		return fmt.Errorf("there is no worker %q; the config of this gateway has none", name)
	}
	return fmt.Errorf("there is no worker %q; this gateway has: %s", name, strings.Join(names, ", "))
}

// WorkerNames lists the workers in a status that can be started and stopped.
func WorkerNames(s ipc.Status) (names []string) {
	for _, w := range s.Workers {
		if !strings.Contains(w.Name, "/") {
			names = append(names, w.Name)
		}
	}
	return names
}
