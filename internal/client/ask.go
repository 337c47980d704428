package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// refusedError is an answer that says no.
type refusedError struct {
	reason string // it names whom it is about
	lines  string // the same in lines, where the answer has that
	code   int
}

func (e *refusedError) Error() string { return e.reason }

// ask makes a request of the supervisor, in JSON, and decodes the answer. what is asked begins the errors. Nobody who answers is
// an error that wraps nats.ErrNoResponders, a refusal a refusedError, and what the user may not ask one that wraps errDenied.
func (c *Client) ask(ctx context.Context, what string, limit time.Duration, m *nats.Msg, request, reply any) (err error) {
	if request != nil {
		if m.Data, err = json.Marshal(request); err != nil {
			return fmt.Errorf("%s: encode request: %w", what, err)
		}
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := c.askAgain(limited, m)
	switch {
	case errors.Is(err, errBroken):
		return fmt.Errorf("%s: %w, and whether it was done is not known; see `supervisor status`", what, err)
	case errors.Is(err, errDenied):
		return fmt.Errorf("%s: %w", what, err)
	case err != nil:
		return fmt.Errorf("%s: no answer: %w", what, err)
	}
	if reason := answer.Header.Get(ipc.HeaderError); reason != "" {
		code, _ := strconv.Atoi(answer.Header.Get(ipc.HeaderErrorCode)) // without one it is no code that is known
		return &refusedError{reason, string(answer.Data), code}
	}
	if err := json.Unmarshal(answer.Data, reply); err != nil {
		return fmt.Errorf("%s: answer: %w", what, err)
	}
	return nil
}

// nobodyTries is how often nobody is believed not to be there while a supervisor answers: endpoints come one after the other.
const nobodyTries = 3

// askAgain makes a request again that nobody has got, as the supervisor was being upgraded.
func (c *Client) askAgain(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	for tries := 1; ; tries++ {
		answer, err := c.once(ctx, m)
		if !errors.Is(err, errUnsent) || ctx.Err() != nil || tries == nobodyTries {
			return answer, err
		}
		if err := c.reached(ctx); err != nil {
			return nil, err
		}
	}
}

// reached returns when a supervisor answers, and soon after that.
func (c *Client) reached(ctx context.Context) error {
	if _, _, err := c.StatusJSON(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retry):
		return nil
	}
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
