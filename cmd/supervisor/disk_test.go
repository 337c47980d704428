package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

const (
	// liveGap is for how long live traffic may pause when the history does not store, and busyGap what a busy machine and
	// the race detector may add.
	liveGap = 2 * time.Second
	busyGap = 2 * time.Second
	// statusLimit is how long status may take at any time.
	statusLimit = time.Second
)

// storeState waits until the store is in a state, and returns how long that took.
func (g *gateway) storeState(t *testing.T, nc *nats.Conn, want ipc.StoreState) (s ipc.BrokerStatus, took time.Duration) {
	t.Helper()
	begun := time.Now()
	waitUntil(t, "the store is "+string(want), func() bool {
		s = statusOf(t, nc).Broker
		return s.Store == want
	})
	return s, time.Since(begun)
}

// statusOf asks a program's connection for the status, which must come soon.
func statusOf(t *testing.T, nc *nats.Conn) (s ipc.Status) {
	t.Helper()
	begun := time.Now()
	m, err := nc.Request("serial.supervisor.status", nil, patience)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > statusLimit {
		t.Errorf("status took %s", took)
	}
	if err := json.Unmarshal(m.Data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitLoss waits until frames that were received are counted as lost.
func awaitLoss(t *testing.T, nc *nats.Conn, least uint64) {
	t.Helper()
	waitUntil(t, "loss is counted", func() bool { return statusOf(t, nc).Ports[0].Rx.LostHistory >= least })
}

// sendUntilRefused sends frames until the queue takes no more. It returns how many it took.
func (g *gateway) sendUntilRefused(t *testing.T) (taken int) {
	t.Helper()
	for ; taken < 50; taken++ {
		frame := fmt.Sprintf("frame %d %s", taken, strings.Repeat(".", 3900))
		begun := time.Now()
		out, err := g.supervisor("send", "gps", frame).CombinedOutput()
		if err == nil {
			continue
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("does not answer")) || !bytes.Contains(out, []byte("no space left on device")) {
			t.Errorf("send failed with %v: %s", err, out)
		}
		t.Logf("send gave up after %s: %s", time.Since(begun).Round(time.Millisecond), bytes.TrimSpace(out))
		return taken
	}
	t.Fatal("the queue takes frames although the disk is full")
	return 0
}

// hear collects what the device is sent.
func (g *gateway) hear(t *testing.T) (heard func() string) {
	t.Helper()
	o := &output{}
	done := make(chan struct{})
	device := g.device
	go func() { // ends when the device is closed
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, err := device.Read(buffer)
			_, _ = o.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = device.Close()
		<-done
	})
	return o.String
}

// TestFullDisk fills the disk under a gateway that receives and sends, and frees it again. Live traffic goes on, everything
// lost is counted and told, and the store comes back without a restart.
func TestFullDisk(t *testing.T) {
	g, dir := startOnDisk(t)
	nc := g.connect(t, "tap")
	states, err := nc.SubscribeSync("serial.gps.state")
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := g.storeState(t, nc, ipc.StoreOK); s.StoreError != "" {
		t.Errorf("the store is well, and has the error %q", s.StoreError)
	}
	heard := g.hear(t)
	live := g.liveTap(t)
	free := fill(t, dir, 3<<20)
	stop := g.talk(t, 100)
	full, _ := g.storeState(t, nc, ipc.StoreFull)
	if !strings.Contains(full.StoreError, "no space left on device") || !strings.Contains(full.StoreError, "KiB are free of 24576") {
		t.Errorf("the store is full: %s", full.StoreError)
	}
	if table := g.mustRun(t, nil, "status"); !bytes.Contains(table, []byte("store full")) || !bytes.Contains(table, []byte("no space left")) {
		t.Errorf("status does not say that the disk is full:\n%s", table)
	}
	taken := g.sendUntilRefused(t)
	awaitLoss(t, nc, 1000)
	t.Logf("live traffic paused for %s at most", live.pause().Round(time.Millisecond))

	free()
	_, took := g.storeState(t, nc, ipc.StoreOK)
	t.Logf("the store was back %s after there was room", took.Round(time.Millisecond))
	g.mustRun(t, nil, "send", "gps", fmt.Sprintf("frame %d ", taken), "--wait")
	said := stop()
	if _, err := g.device.Write([]byte("after the outage\n")); err != nil {
		t.Fatal(err)
	}
	said++
	replay := g.tap(t, "gps", "--since", "1m")
	waitUntil(t, "new frames are in the history", func() bool { return strings.Contains(replay.String(), "after the outage") })
	waitUntil(t, "the live tap has everything", func() bool { n, _ := live.seen(); return n == said })
	g.wantCounted(t, said)

	if pause := live.pause(); pause > liveGap+busyGap {
		t.Errorf("live traffic paused for %s, want at most %s", pause, liveGap)
	}
	if _, repeated := live.seen(); repeated > 0 {
		t.Errorf("the live tap saw %d frames more than once", repeated)
	}
	for i := range taken + 1 {
		if n := strings.Count(heard(), fmt.Sprintf("frame %d ", i)); n != 1 {
			t.Errorf("the device was sent frame %d %d times", i, n)
		}
	}
	g.wantTold(t, nc, states)
	if s := statusOf(t, nc); s.PID != g.process.Pid {
		t.Errorf("the supervisor is process %d, want %d still", s.PID, g.process.Pid)
	}
	for _, want := range []string{"history and queues do not store; live traffic goes on", "remedy=", "history and queues store again"} {
		if n := strings.Count(g.errors.String(), want); n != 1 {
			t.Errorf("the log says %d times %q, want once:\n%s", n, want, g.errors)
		}
	}
}

// wantTold checks what was published of the loss: at most once a second, and the last of it the truth.
func (g *gateway) wantTold(t *testing.T, nc *nats.Conn, states *nats.Subscription) {
	t.Helper()
	port := statusOf(t, nc).Ports[0]
	want := port.Rx.LostHistory + port.Tx.LostHistory
	var told []ipc.PortState
	for last := uint64(0); last != want; {
		m, err := states.NextMsg(patience)
		if err != nil {
			t.Fatalf("that %d frames are lost was not published: %v", want, err)
		}
		var s ipc.PortState
		if err := json.Unmarshal(m.Data, &s); err != nil {
			t.Fatal(err)
		}
		if s.State != ipc.Open || s.Session != port.Session {
			t.Errorf("published: %s", m.Data)
		}
		if last = s.LostHistory; last > 0 {
			told = append(told, s)
		}
	}
	if n := len(told); n > 1 {
		// One more when the store is back.
		if limit := int(told[n-1].Time.Sub(told[0].Time)/time.Second) + 3; n > limit {
			t.Errorf("the loss was published %d times, want at most %d", n, limit)
		}
	}
}

// TestFullDiskWithForwarding has a port forward to itself, so that what it receives waits for the queue too, and say lines
// of which the port's memory holds fewer than may be under way.
func TestFullDiskWithForwarding(t *testing.T) {
	g, dir := startOnDisk(t, "forward_to: [gps]")
	nc := g.connect(t, "tap")
	g.hear(t)
	live := g.liveTap(t)
	free := fill(t, dir, 3<<20)
	stop := g.talk(t, 1000)
	g.storeState(t, nc, ipc.StoreFull)
	awaitLoss(t, nc, 10000)
	free()
	g.storeState(t, nc, ipc.StoreOK)
	said := stop()
	waitUntil(t, "the live tap has everything", func() bool { n, _ := live.seen(); return n == said })
	if pause := live.pause(); pause > liveGap+busyGap {
		t.Errorf("live traffic paused for %s, want at most %s", pause, liveGap)
	}
	g.await(t, "every frame is sent or counted as not forwarded", func(p portNumbers) bool {
		return p.Tx.Queued == 0 && p.Tx.Frames+p.Rx.LostForward == uint64(said)
	})
	g.wantCounted(t, said)
	t.Logf("live traffic paused for %s at most; %d frames were not forwarded", live.pause().Round(time.Millisecond), statusOf(t, nc).Ports[0].Rx.LostForward)
}

// TestFullDiskAndASessionEnds unplugs the device while the disk is full: what it had said and the history had not taken is
// counted, and it is back at once.
func TestFullDiskAndASessionEnds(t *testing.T) {
	g, dir := startOnDisk(t)
	nc := g.connect(t, "tap")
	live := g.liveTap(t)
	free := fill(t, dir, 2<<20)
	stop := g.talk(t, 100)
	g.storeState(t, nc, ipc.StoreFull)
	awaitLoss(t, nc, 1000)
	said := stop()
	waitUntil(t, "the live tap has everything", func() bool { n, _ := live.seen(); return n == said })
	begun := time.Now()
	g.unplug(t)
	g.plugIn(t)
	g.await(t, "the port is open again", func(p portNumbers) bool { return p.State == ipc.Open && time.Since(p.Since) < time.Since(begun) })
	t.Logf("the port was open again after %s", time.Since(begun).Round(time.Millisecond))
	if lost := statusOf(t, nc).Ports[0].Rx.LostHistory; lost < 2000 {
		t.Errorf("%d frames are counted as lost, want those that were under way too", lost)
	}
	free()
	g.storeState(t, nc, ipc.StoreOK)
	stop = g.talk(t, 100)
	g.await(t, "it receives again", func(p portNumbers) bool { return p.Rx.Frames > uint64(said)+1000 })
	said += stop()
	waitUntil(t, "the live tap has everything", func() bool { n, _ := live.seen(); return n == said })
	g.wantCounted(t, said)
}

// TestFullDiskAndAReaderIsKilled kills the reader while the disk is full, under a tap that follows the history.
func TestFullDiskAndAReaderIsKilled(t *testing.T) {
	g, dir := startOnDisk(t)
	nc := g.connect(t, "tap")
	live := g.liveTap(t)
	follower := g.tap(t, "gps", "--since", "1m")
	free := fill(t, dir, 3<<20)
	stop := g.talk(t, 100)
	g.storeState(t, nc, ipc.StoreFull)
	awaitLoss(t, nc, 1000)
	g.killAgainAndAgain(t, "gps/reader", 2)
	awaitLoss(t, nc, statusOf(t, nc).Ports[0].Rx.LostHistory+6000)
	free()
	g.storeState(t, nc, ipc.StoreOK)
	said := stop()
	waitUntil(t, "the live tap has everything", func() bool { n, _ := live.seen(); return n == said })
	if pause := live.pause(); pause > liveGap+busyGap {
		t.Errorf("live traffic paused for %s, want at most %s", pause, liveGap)
	}
	g.wantCounted(t, said)
	if _, err := g.device.Write([]byte("after the outage\n")); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "a tap from before follows again", func() bool { return strings.Contains(follower.String(), "after the outage") })
}

// TestSendingWithAFullDisk sends more than a queue hands out before something is acknowledged, while the history does not
// take what was sent.
func TestSendingWithAFullDisk(t *testing.T) {
	g, dir := startOnDisk(t, "queue: memory")
	nc := g.connect(t, "tap")
	heard := g.hear(t)
	free := fill(t, dir, 1<<20)
	stop := g.talk(t, 100)
	g.storeState(t, nc, ipc.StoreFull)
	sender := g.connect(t, "send")
	const frames = 2000
	for i := range frames {
		if _, err := sender.Request("serial.gps.tx", fmt.Appendf(nil, "frame %d", i), patience); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, "all frames are sent", func() bool { return strings.Contains(heard(), fmt.Sprintf("frame %d\n", frames-1)) })
	g.await(t, "loss is counted", func(p portNumbers) bool { return p.Tx.LostHistory > 1000 })
	said := stop()
	free()
	g.storeState(t, nc, ipc.StoreOK)
	g.wantCounted(t, said)
	for i := range frames {
		if n := strings.Count(heard(), fmt.Sprintf("frame %d\n", i)); n != 1 {
			t.Fatalf("the device was sent frame %d %d times", i, n)
		}
	}
}

// TestDiskThatHangs has every write to the disk hang for a while. What the broker has kept for it in memory is stored
// afterwards, and what was counted as lost meanwhile turns out not to be.
func TestDiskThatHangs(t *testing.T) {
	g := newPluggedGateway(t)
	dir := g.mountImage(t)
	g.run(t)
	nc := g.connect(t, "tap")
	live := g.liveTap(t)
	stop := g.talk(t, 100)
	g.await(t, "it receives", func(p portNumbers) bool { return p.Rx.Frames > 1000 })
	thaw := freeze(t, dir)
	failed, took := g.storeState(t, nc, ipc.StoreFailed)
	t.Logf("noticed after %s: %s", took.Round(time.Millisecond), failed.StoreError)
	awaitLoss(t, nc, 1000)
	if pause := live.pause(); pause > liveGap+busyGap {
		t.Errorf("live traffic paused for %s, want at most %s", pause, liveGap)
	}
	lost := statusOf(t, nc).Ports[0].Rx.LostHistory
	thaw()
	_, took = g.storeState(t, nc, ipc.StoreOK)
	t.Logf("the store was back %s after the disk was; live traffic paused for %s at most", took.Round(time.Millisecond), live.pause().Round(time.Millisecond))
	said := stop()
	waitUntil(t, "the live tap has everything", func() bool { n, _ := live.seen(); return n == said })
	g.wantCounted(t, said)
	if _, repeated := live.seen(); repeated > 0 {
		t.Errorf("the live tap saw %d frames more than once", repeated)
	}
	waitUntil(t, fmt.Sprintf("of %d frames none is counted as lost any more", lost), func() bool { return statusOf(t, nc).Ports[0].Rx.LostHistory == 0 })
}
