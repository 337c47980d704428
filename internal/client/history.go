package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// history finds the stream of what was received, sent and changed, and what it holds now. Only users with role tap may.
func (c *Client) history(ctx context.Context) (jetstream.Stream, error) {
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	ctx, stop := c.watchDenied(ctx, func(subject string) bool { return strings.HasPrefix(subject, "$JS.API.") })
	defer stop()
	stream, err := js.Stream(ctx, c.Subjects.History())
	if err != nil && errors.Is(context.Cause(ctx), errDenied) {
		return nil, fmt.Errorf("read the history: %w", errDenied)
	}
	return stream, historyError(err)
}

// readHistory begins to read the messages of some subjects: those behind sequence after, or if that is 0 those of the last since,
// or all if that is 0 too.
func readHistory(ctx context.Context, stream jetstream.Stream, subjects []string, since time.Duration, after uint64) (jetstream.Consumer, error) {
	config := jetstream.OrderedConsumerConfig{FilterSubjects: subjects}
	switch {
	case after > 0:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, after+1
	case since > 0:
		from := time.Now().Add(-since)
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	consumer, err := stream.OrderedConsumer(ctx, config)
	return consumer, historyError(err)
}

// errorOtherPorts is how the gateway refuses to show the history of ports that are not the user's.
const errorOtherPorts = 10045

// historyError says what the user can do about one.
func historyError(err error) error {
	var refusal *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal) && refusal.ErrorCode == errorOtherPorts:
		return fmt.Errorf("read the history: %w", errDenied)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return errors.New("this gateway keeps no history: its config says history: {storage: none}")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the history does not answer: only users with role tap may read it")
	}
	return fmt.Errorf("read the history: %w", err)
}
