package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// A supervisor is killed after the history has taken frames as sent, and before the queue has let go of them. However long
// it is away, the next writer does not get them, and tells of none twice.
func TestWhatWasToldLeavesTheQueue(t *testing.T) {
	broker.ForgetIDs()
	b := start(t, options(t))
	queue(t, b, "gps", "one")
	queue(t, b, "echo", "not this")
	queue(t, b, "gps", "two", "three")
	history, err := jetstream.New(b.Traffic())
	if err != nil {
		t.Fatal(err)
	}
	number, err := b.RewindQueue(t.Context(), "gps")
	if err != nil {
		t.Fatal(err)
	}
	for seq, frame := range map[uint64]string{1: "one", 3: "two"} {
		m := &nats.Msg{Subject: "serial.gps.sent", Data: []byte(frame), Header: ipc.OutcomeHeader("gps", ipc.QueueToken(number), seq, time.Now())}
		if _, err := history.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.TakeOutTold(t.Context(), "gps"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.RewindQueue(t.Context(), "gps"); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Queued(t.Context(), "gps"); err != nil || n != 1 {
		t.Errorf("%d frames wait, want 1; %v", n, err)
	}
	if got := fetch(t, b, "gps", 1); !slices.Equal(got, []string{"three"}) {
		t.Errorf("the next writer gets %q", got)
	}
	if got := fetch(t, b, "echo", 1); !slices.Equal(got, []string{"not this"}) {
		t.Errorf("the writer of another port gets %q", got)
	}
}
