package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// TestPartOfTheStoreIsDeleted deletes the state folder, or a part of it, under a gateway that receives and sends. It begins
// anew, and what is missing in the history is what counts as lost.
func TestPartOfTheStoreIsDeleted(t *testing.T) {
	for _, part := range []string{".", "store/jetstream/TRAFFIC", "store/jetstream/TRAFFIC/streams/SERIAL_HISTORY/msgs"} {
		t.Run(part, func(t *testing.T) {
			g := newPluggedGateway(t)
			g.run(t)
			nc := g.connect(t, "tap")
			heard := g.hear(t)
			live := g.liveTap(t)
			stop := g.talk(t, 100)
			for i := range 100 {
				g.mustSend(t, fmt.Sprintf("before %d", i))
			}
			waitUntil(t, "it receives", func() bool { return statusOf(t, nc).Ports[0].Rx.Frames > 1000 })
			g.mustDelete(t, filepath.Join("state", part))
			s, took := g.storeState(t, nc, ipc.StoreFailed)
			t.Logf("noticed after %s", took)
			if !strings.Contains(s.StoreError, "was deleted") || !strings.Contains(s.StoreError, "begin anew by themselves") {
				t.Errorf("the store has failed: %s", s.StoreError)
			}
			_, took = g.storeState(t, nc, ipc.StoreOK)
			t.Logf("began anew after %s", took)
			for i := range 100 {
				g.mustSend(t, fmt.Sprintf("after %d", i))
			}
			said := stop()
			waitUntil(t, "the live tap has everything", func() bool { n, _ := live.seen(); return n == said })
			g.wantCounted(t, said)
			if statusOf(t, nc).Ports[0].Rx.LostHistory == 0 {
				t.Error("nothing is counted as lost")
			}
			if pause := live.pause(); pause > liveGap+busyGap {
				t.Errorf("live traffic paused for %s, want at most %s", pause, liveGap)
			}
			waitUntil(t, "all is sent", func() bool { return strings.Contains(heard(), "after 99\n") })
			for _, when := range []string{"before", "after"} {
				for i := range 100 {
					if n := strings.Count(heard(), fmt.Sprintf("%s %d\n", when, i)); n != 1 {
						t.Errorf("the device was sent %s %d %d times", when, i, n)
					}
				}
			}
			for _, want := range []string{"was deleted", "frames that were stored are lost with the history"} {
				if !strings.Contains(g.errors.String(), want) {
					t.Errorf("the log does not say %q:\n%s", want, g.errors)
				}
			}
		})
	}
}

// mustDelete deletes a file or folder, as rm -rf does.
func (g *gateway) mustDelete(t *testing.T, path string) {
	t.Helper()
	// What is being written may come in its way.
	waitUntil(t, path+" is deleted", func() bool { return os.RemoveAll(filepath.Join(g.dir, path)) == nil })
}

// mustSend queues a frame.
func (g *gateway) mustSend(t *testing.T, frame string) {
	t.Helper()
	if g.sender == nil {
		g.sender = g.connect(t, "send")
	}
	if _, err := g.sender.Request("serial.gps.tx", []byte(frame), patience); err != nil {
		t.Fatal(err)
	}
}
