package supervisor

import (
	"bytes"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
)

func TestPrintedLines(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	(&printed{log: log}).stdout(strings.NewReader("plain\n<3>bad\r\n\n<4>careful\n<6>fine\n<7>detail\n<9>odd\n<3\nno end"))
	want := "INFO plain|ERROR bad|WARN careful|INFO fine|DEBUG detail|INFO <9>odd|INFO <3|INFO no end"
	var got []string
	for line := range strings.Lines(out.String()) {
		var level, message string
		_, _ = fmt.Sscanf(line, "level=%s", &level)
		_, message, _ = strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), " stream=stdout"), "msg=")
		got = append(got, level+" "+strings.Trim(message, `"`))
	}
	if joined := strings.Join(got, "|"); joined != want {
		t.Errorf("logged %s\nwant   %s", joined, want)
	}
	out.Reset()
	(&printed{log: log}).stdout(strings.NewReader(strings.Repeat("x", 10*longestLine) + "\nend\n"))
	if text := out.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, fmt.Sprintf("left_out=%d", 9*longestLine)) || len(text) > 2*longestLine {
		t.Errorf("a line of %d bytes and a short one gave %d bytes: %.100q", 10*longestLine, len(text), text)
	}
}

// A worker that prints without end has most left out, and counted.
func TestFloodOfLines(t *testing.T) {
	var out bytes.Buffer
	const lines = 1_000_000
	(&printed{log: slog.New(slog.NewTextHandler(&out, nil))}).stderr(strings.NewReader(strings.Repeat("word\n", lines)))
	logged, left := strings.Count(out.String(), "msg=word"), 0
	for line := range strings.Lines(out.String()) {
		if _, count, found := strings.Cut(line, "lines="); found {
			n, err := strconv.Atoi(strings.Fields(count)[0])
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			left += n
		}
	}
	if logged < mostAtOnce || logged > lines/10 || logged+left != lines {
		t.Errorf("%d lines are logged and %d are left out, of %d", logged, left, lines)
	}
}

func TestRecordsOfOurWorkers(t *testing.T) {
	var out bytes.Buffer
	p := &printed{log: slog.New(slog.NewTextHandler(&out, nil)), ours: true}
	p.stderr(strings.NewReader("<4>a frame was not sent\tbytes=4 reason=\"it is \\\"too\\\" late\" last=x\n<3>alone\n"))
	for _, want := range []string{`level=WARN msg="a frame was not sent" bytes=4 reason="it is \"too\" late" last=x stream=stderr`, "level=ERROR msg=alone stream=stderr"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("logged %s\nwant %s", out.String(), want)
		}
	}
}
