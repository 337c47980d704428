package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// TestStoreIsDeleted deletes what the supervisor stores, under traffic and with frames that wait. That is noticed and told,
// live traffic goes on, and history and queue begin anew without a restart.
func TestStoreIsDeleted(t *testing.T) {
	for _, what := range []string{".", "store/jetstream"} {
		t.Run(what, func(t *testing.T) {
			g := newPluggedGateway(t)
			g.run(t)
			nc := g.connect(t, "tap")
			live := g.liveTap(t)
			heard := g.hear(t)
			stop := g.talk(t, 1000)
			g.receives(t, 1000)
			dir := filepath.Join(g.dir, "state", what)
			waitUntil(t, "it is deleted, between what is being stored", func() bool { return os.RemoveAll(dir) == nil })
			failed, took := g.storeState(t, nc, ipc.StoreFailed)
			t.Logf("noticed after %s: %s", took, failed.StoreError)
			if want := "was deleted while it was in use"; !strings.Contains(failed.StoreError, want) {
				t.Errorf("the store has failed with %q, want %q in it", failed.StoreError, want)
			}
			_, took = g.storeState(t, nc, ipc.StoreOK)
			t.Logf("the store was back after %s; live traffic paused for %s at most", took, live.pause())
			n := statusOf(t, nc).Ports[0].Rx.Frames
			waitUntil(t, "it goes on receiving", func() bool { return statusOf(t, nc).Ports[0].Rx.Frames > n+10000 })
			said := stop()
			waitUntil(t, "the live tap has everything", func() bool { n, _ := live.seen(); return n == said })
			if pause := live.pause(); pause > liveGap+busyGap {
				t.Errorf("live traffic paused for %s, want at most %s", pause, liveGap)
			}
			// Programs that start now find their credentials, and history and queue work.
			for i := range 10 {
				g.mustRun(t, nil, "send", "gps", fmt.Sprintf("frame %d ", i), "--wait")
			}
			replay := g.tap(t, "gps", "--since", "1h")
			waitUntil(t, "the history has the last line", func() bool { return strings.Contains(replay.String(), fmt.Sprintf("line %d ", said-1)) })
			for i := range 10 {
				if n := strings.Count(heard(), fmt.Sprintf("frame %d ", i)); n != 1 {
					t.Errorf("the device was sent frame %d %d times", i, n)
				}
			}
			for _, want := range []string{"history and queues do not store; live traffic goes on", "begin anew by themselves", "the history was deleted, it begins anew"} {
				if n := strings.Count(g.errors.String(), want); n != 1 {
					t.Errorf("the log says %d times %q, want once:\n%s", n, want, g.errors)
				}
			}
			if _, err := g.supervisor("run", "--config", filepath.Join(g.dir, "c.yaml")).CombinedOutput(); err == nil {
				t.Error("a second supervisor starts in the same folder")
			}
			g.wantInTime(t)
		})
	}
}
