package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// upgradeAnswerLimit is how long a supervisor may take to find out whether it can be upgraded.
const upgradeAnswerLimit = time.Minute

// Upgrade has the supervisor end for the program that now stands where its own stood. When it returns that has begun.
func (c *Client) Upgrade(ctx context.Context) error {
	err := c.askSupervisor(ctx, "upgrade", upgradeAnswerLimit, c.Subjects.Upgrade(), nil, &struct{}{})
	if errors.Is(err, errDenied) {
		return c.deniedAdmin("upgrade the supervisor")
	}
	return err
}

// replaceLimit is how long a service manager may take to start a supervisor in place of one that has died.
const replaceLimit = 10 * time.Second

// AwaitOther waits until another supervisor than the one with some status answers at a place, and returns what that says. One that
// was upgraded is another. If the process ends instead, and nobody starts one in its place, that is an error.
func AwaitOther(ctx context.Context, place Place, before ipc.Status) (after ipc.Status, err error) {
	// One that ends does not answer what it was asked last; one that is new may take its time.
	limit := 200 * time.Millisecond
	seen := runs(before.PID) // it may be on another machine, or in a container
	var ended time.Time
	for {
		after, err = statusAt(ctx, place, limit)
		if errors.Is(err, context.DeadlineExceeded) {
			limit *= 2
		}
		if err == nil && !after.Started.Equal(before.Started) {
			return after, nil
		}
		switch {
		case !seen || runs(before.PID):
		case ended.IsZero():
			ended = time.Now()
		case time.Since(ended) > replaceLimit:
			return after, fmt.Errorf("process %d has ended, and no supervisor has taken its place; its log says why", before.PID)
		}
		select {
		case <-ctx.Done():
			return after, errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// takeOverLimit is how long a supervisor that answers may take until all runs that ran under the one before.
const takeOverLimit = 10 * time.Second

// AwaitTakenOver waits until nothing stands in a supervisor's way that did not stand in that of the one before, and returns what it
// says then. What takes too long is an error that names it.
func AwaitTakenOver(ctx context.Context, place Place, before ipc.Status) (after ipc.Status, err error) {
	c, err := Connect(ctx, place, ipc.RoleAdmin)
	if err != nil {
		return after, err
	}
	defer c.Close()
	for begun := time.Now(); ; {
		if _, after, err = c.StatusJSON(ctx); err != nil {
			return after, err
		}
		missing := slices.DeleteFunc(slices.Clone(after.NotReady), func(reason string) bool { return slices.Contains(before.NotReady, reason) })
		if len(missing) == 0 {
			return after, nil
		}
		if time.Since(begun) > takeOverLimit {
			return after, fmt.Errorf("after %s not all runs that ran before: %s", takeOverLimit, strings.Join(missing, "; "))
		}
		select {
		case <-ctx.Done():
			return after, ctx.Err()
		case <-time.After(retry):
		}
	}
}

// runs says whether there is a process on this machine.
func runs(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func statusAt(ctx context.Context, place Place, limit time.Duration) (s ipc.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := Connect(ctx, place, ipc.RoleAdmin)
	if err != nil {
		return s, err
	}
	defer c.Close()
	_, s, err = c.StatusJSON(ctx)
	return s, err
}
