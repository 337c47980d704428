package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// reloadAnswerLimit is how long a supervisor may take over a reload, in which workers may take their time to end.
const reloadAnswerLimit = 10 * time.Minute

// Reload has the supervisor take its config over anew, or with dry only say what that would change.
func (c *Client) Reload(ctx context.Context, dry bool) (reply ipc.ReloadReply, err error) {
	err = c.ask(ctx, "reload", reloadAnswerLimit, nats.NewMsg(c.Subjects.Reload()), ipc.ReloadRequest{DryRun: dry}, &reply)
	var refusal *refusedError
	switch {
	case nobodyAnswers(err):
		return reply, fmt.Errorf("no supervisor answers below %q at %s", c.Subjects.Root, c.url)
	case errors.As(err, &refusal):
		return reply, errors.New(refusal.lines)
	}
	return reply, err
}
