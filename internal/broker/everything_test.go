package broker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Who asks for everything gets what may be watched, and nothing of what others ask for or the gateway says to itself.
func TestEverythingIsWhatMayBeWatched(t *testing.T) {
	b := start(t, options(t))
	for _, role := range ipc.Roles {
		nc := connect(t, b, b.RoleGrant(role))
		sub, err := nc.SubscribeSync("serial.>")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushTimeout(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		seen := []string{"serial.gps.rx", "serial.gps.sent", "serial.gps.expired", "serial.gps.state", "serial.supervisor.log.w"}
		for _, subject := range append([]string{"serial.gps.rx.again", "serial.gps.sent.again", "serial.supervisor.status"}, seen...) {
			if err := b.Traffic().Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, subject := range []string{"serial.gps.request", "serial.gps.lease", "serial.gps.leased", "serial.gps.control", "serial.gps.tx", "serial.supervisor.worker.w.stop", "serial.supervisor.reload"} {
			if err := b.Control().Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for {
			m, err := sub.NextMsg(500 * time.Millisecond)
			if errors.Is(err, nats.ErrTimeout) && len(got) >= len(seen) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v after %v", role, err, got)
			}
			got = append(got, m.Subject)
		}
		slices.Sort(got)
		slices.Sort(seen)
		if !slices.Equal(got, seen) {
			t.Errorf("%s gets %v, want %v", role, got, seen)
		}
		if err := nc.LastError(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
}
