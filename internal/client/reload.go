package client

import (
	"context"
	"errors"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// reloadAnswerLimit is how long a supervisor may take over a reload, in which workers may take their time to end.
const reloadAnswerLimit = 10 * time.Minute

// Reload has the supervisor take its config over anew, or with dry only say what that would change.
func (c *Client) Reload(ctx context.Context, dry bool) (reply ipc.ReloadReply, err error) {
	err = c.askSupervisor(ctx, "reload", reloadAnswerLimit, c.Subjects.Reload(), ipc.ReloadRequest{DryRun: dry}, &reply)
	if errors.Is(err, errDenied) {
		err = c.deniedAdmin("reload the config")
	}
	return reply, err
}
