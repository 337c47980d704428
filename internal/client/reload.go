package client

import (
	"context"
	"encoding/json"
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
	request, err := json.Marshal(ipc.ReloadRequest{DryRun: dry})
	if err != nil {
		return reply, err
	}
	limited, cancel := context.WithTimeout(ctx, reloadAnswerLimit)
	defer cancel()
	m, err := c.nc.RequestWithContext(limited, c.Subjects.Reload(), request)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return reply, fmt.Errorf("no supervisor answers below %q at %s", c.Subjects.Root, c.url)
	case err != nil:
		return reply, fmt.Errorf("reload: no answer: %w", err)
	case m.Header.Get(ipc.HeaderError) != "":
		return reply, errors.New(string(m.Data)) // in lines
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return reply, fmt.Errorf("reload: answer: %w", err)
	}
	return reply, nil
}
