package broker_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
)

// What waits moves along when the config moves queues from files to memory, also what waits for a port that is not
// configured at the moment.
func TestQueuesChangeTheirStorage(t *testing.T) {
	o := options(t)
	first := start(t, o)
	queue(t, first, "gps", "a", "b", "c")
	queue(t, first, "echo", "x", "y")
	first.Shutdown()

	o.Queues = []broker.Queue{{Port: "gps", Limits: limits, MaxFrame: 4096}}
	o.Queues[0].Limits.Memory = true
	second := start(t, o)
	if got := fetch(t, second, "gps", 3); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("gps has %q waiting, want a b c", got)
	}
	queue(t, second, "gps", "d")
	second.Shutdown()

	o.Queues = append(o.Queues, broker.Queue{Port: "echo", Limits: limits, MaxFrame: 4096})
	third := start(t, o)
	if got := fetch(t, third, "echo", 2); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("echo has %q waiting, want x y", got)
	}
	queue(t, third, "gps", "e")
	if got := fetch(t, third, "gps", 1); !slices.Equal(got, []string{"e"}) {
		t.Errorf("gps has %q waiting, want e", got)
	}
}

// A history in files is kept while it is in memory, and there again afterwards.
func TestHistoryChangesItsStorage(t *testing.T) {
	o := options(t)
	has := func(b *broker.Broker, want uint64) {
		t.Helper()
		wait(t, func() error {
			f, err := b.HistoryFigures(t.Context())
			if err == nil && f.Messages != want {
				err = fmt.Errorf("the history has %d messages, want %d", f.Messages, want)
			}
			return err
		})
	}
	say := func(b *broker.Broker) {
		t.Helper()
		if err := b.PublishState("gps", []byte(`{}`), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	inFiles := start(t, o)
	say(inFiles)
	say(inFiles)
	has(inFiles, 2)
	inFiles.Shutdown()
	for _, want := range []int{1, 0} { // the second time there is nothing to be put aside
		changed, log := o, &strings.Builder{}
		changed.History.Memory = true
		changed.Log = slog.New(slog.NewTextHandler(log, nil))
		inMemory := start(t, changed)
		has(inMemory, 0)
		say(inMemory)
		has(inMemory, 1)
		inMemory.Shutdown()
		if n := strings.Count(log.String(), "set history.storage: file again to read it"); n != want {
			t.Errorf("the log says %d times how to get at it, want %d:\n%s", n, want, log)
		}
	}
	again := start(t, o)
	has(again, 2)
	say(again)
	has(again, 3)
}
