package writer

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// terms are what a request says of its answer.
type terms struct {
	timeout time.Duration  // for its turn, and again for the writing, and for the answer
	settle  time.Duration  // before the frame is written; what comes meanwhile is no answer
	frames  int            // how many the answer has; 0: any number
	none    bool           // there is no answer, but that the frame was written
	until   *regexp.Regexp // matches the last frame; nil: any
	gap     time.Duration  // silence that ends the answer; 0: none does
}

// Limits of terms.
const (
	longestTimeout = 5 * time.Minute
	longestSettle  = time.Minute
	longestUntil   = 1024
)

// termsParser reads the headers of requests. The zero value is ready, and for one goroutine.
type termsParser struct {
	text  string // of the last regular expression
	until *regexp.Regexp
}

// parse returns an error that says what is wrong with a header.
func (p *termsParser) parse(h nats.Header) (t terms, err error) {
	t = terms{timeout: time.Second}
	count := false
	for name, values := range h {
		if !strings.HasPrefix(strings.ToLower(name), "serial-") {
			continue
		}
		value := values[len(values)-1]
		switch name {
		case ipc.HeaderTimeout:
			t.timeout, err = durationUpTo(value, longestTimeout)
		case ipc.HeaderSettle:
			t.settle, err = durationUpTo(value, longestSettle)
		case ipc.HeaderGap:
			t.gap, err = durationUpTo(value, longestTimeout)
		case ipc.HeaderFrames:
			count = true
			if t.frames, err = strconv.Atoi(value); err != nil || t.frames < 0 || t.frames > 1_000_000 {
				err = fmt.Errorf("%q is not a number of frames from 0 to 1000000", value)
			}
		case ipc.HeaderUntil:
			t.until, err = p.regexp(value)
		case ipc.HeaderFlags, ipc.HeaderLease:
		default:
			err = fmt.Errorf("there is no such header; a request has %s", strings.Join(ipc.RequestHeaders, ", "))
		}
		if err != nil {
			return t, fmt.Errorf("header %s: %w", name, err)
		}
	}
	t.none = count && t.frames == 0
	switch {
	case t.none && (t.until != nil || t.gap > 0):
		return t, fmt.Errorf("header %s: 0 asks for no answer, so %s and %s have no meaning", ipc.HeaderFrames, ipc.HeaderUntil, ipc.HeaderGap)
	case !count && t.until == nil && t.gap == 0:
		t.frames = 1
	}
	return t, nil
}

func (p *termsParser) regexp(text string) (*regexp.Regexp, error) {
	if p.until != nil && text == p.text {
		return p.until, nil
	}
	if len(text) > longestUntil {
		return nil, fmt.Errorf("a regular expression of %d bytes, and %d are the limit", len(text), longestUntil)
	}
	until, err := regexp.Compile(text)
	if err == nil {
		p.text, p.until = text, until
	}
	return until, err
}

func durationUpTo(text string, limit time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > limit {
		return 0, fmt.Errorf("%q is not a duration above 0 and up to %s, such as 250ms", text, limit)
	}
	return d, nil
}
