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

// refusedError is an answer that says no.
type refusedError struct {
	reason string // it names whom it is about
	lines  string // the same in lines, where the answer has that
}

func (e *refusedError) Error() string { return e.reason }

// ask makes a request of the supervisor, in JSON, and decodes the answer. what is asked begins the errors. Nobody who answers is
// an error that wraps nats.ErrNoResponders, a refusal a refusedError.
func (c *Client) ask(ctx context.Context, what string, limit time.Duration, m *nats.Msg, request, reply any) (err error) {
	if request != nil {
		if m.Data, err = json.Marshal(request); err != nil {
			return fmt.Errorf("%s: encode request: %w", what, err)
		}
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := c.nc.RequestMsgWithContext(limited, m)
	if err != nil {
		return fmt.Errorf("%s: no answer: %w", what, err)
	}
	if reason := answer.Header.Get(ipc.HeaderError); reason != "" {
		return &refusedError{reason, string(answer.Data)}
	}
	if err := json.Unmarshal(answer.Data, reply); err != nil {
		return fmt.Errorf("%s: answer: %w", what, err)
	}
	return nil
}

// askSupervisor is ask for what concerns the whole of the supervisor, with errors for people.
func (c *Client) askSupervisor(ctx context.Context, what string, limit time.Duration, subject string, request, reply any) error {
	err := c.ask(ctx, what, limit, nats.NewMsg(subject), request, reply)
	var refusal *refusedError
	switch {
	case nobodyAnswers(err):
		return fmt.Errorf("no supervisor answers below %q at %s", c.Subjects.Root, c.url)
	case errors.As(err, &refusal):
		return errors.New(refusal.lines)
	}
	return err
}

// nobodyAnswers says whether there was nobody to answer.
func nobodyAnswers(err error) bool { return errors.Is(err, nats.ErrNoResponders) }
