package supervisor

import (
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
)

// What a writer may have in hand is its to tell of; a frame that was dropped on its way to it is not, although the queue's
// progress passes it.
func TestProgressHas(t *testing.T) {
	over := time.Now()
	m := mortal{Frame: broker.QueuedFrame{Seq: 7}, Expiry: over}
	for i, step := range []struct {
		after time.Duration // its time was over
		at    progress
		has   bool
	}{
		{0, progress{delivered: 6, deliveries: 3, handled: 3}, false}, // it waits still
		{0, progress{delivered: 7, deliveries: 3, handled: 3}, true},  // the broker may not have dropped it yet
		{expiryGrace, progress{delivered: 7, deliveries: 4, handled: 3}, true},
		{10 * expiryGrace, progress{delivered: 9, deliveries: 6, handled: 3}, true}, // the fourth may be it
		{11 * expiryGrace, progress{delivered: 9, deliveries: 6, handled: 4}, true}, // what it has told is on its way
		{11*expiryGrace + expiryLook, progress{delivered: 10, deliveries: 7, handled: 5}, false},
	} {
		if got := step.at.has(&m, over.Add(step.after)); got != step.has {
			t.Errorf("step %d: the writer may have it: %t, want %t", i, got, step.has)
		}
	}
}
