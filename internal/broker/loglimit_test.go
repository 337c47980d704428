package broker

import (
	"testing"
	"time"
)

// A flood of lines is cut to a few, and what was left out is counted.
func TestLogLimit(t *testing.T) {
	l := newLimit()
	now := time.Unix(1_000_000, 0)
	passed, leftOut := 0, 0
	flood := func(lines int) {
		for range lines {
			if n, ok := l.pass(now); ok {
				passed++
				leftOut += n
			}
		}
	}
	flood(1000)
	if passed != logBurst {
		t.Errorf("%d of 1000 lines passed, want %d", passed, logBurst)
	}
	now = now.Add(time.Second)
	flood(1000)
	if passed != logBurst+logRate || leftOut != 1000-logBurst {
		t.Errorf("a second later %d lines had passed, and %d were said to be left out; want %d and %d", passed, leftOut, logBurst+logRate, 1000-logBurst)
	}
	now = now.Add(time.Hour)
	if _, ok := l.pass(now); !ok {
		t.Error("after an hour no line passes")
	}
}
