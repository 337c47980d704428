package supervisor

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	logLines(strings.NewReader("plain\n<3>bad\r\n\n<4>careful\n<6>fine\n<7>detail\n<9>odd\n<3\nno end"), log)
	want := "INFO plain|ERROR bad|WARN careful|INFO fine|DEBUG detail|INFO <9>odd|INFO <3|INFO no end"
	var got []string
	for line := range strings.Lines(out.String()) {
		var level, message string
		_, _ = fmt.Sscanf(line, "level=%s", &level)
		_, message, _ = strings.Cut(strings.TrimSpace(line), "msg=")
		got = append(got, level+" "+strings.Trim(message, `"`))
	}
	if joined := strings.Join(got, "|"); joined != want {
		t.Errorf("logged %s\nwant   %s", joined, want)
	}
	out.Reset()
	logLines(strings.NewReader(strings.Repeat("x", 10*longestLine)+"\nend\n"), log)
	if n := strings.Count(out.String(), "\n"); n != 11 {
		t.Errorf("a line of %d bytes and a short one gave %d records, want 11", 10*longestLine, n)
	}
}
