package broker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// What is published again is stored under its first subject and once, and taps do not see it.
func TestAgainIsStoredAndNotSeen(t *testing.T) {
	b := start(t, options(t))
	nc := connect(t, b, b.ReaderGrants("gps", nil)[0])
	tap := connect(t, b, b.RoleGrant(ipc.RoleTap))
	live, err := tap.SubscribeSync("serial.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.Flush(); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"serial.gps.rx.again", "serial.gps.rx", "serial.gps.rx.again"} {
		ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: []byte("a"), Header: nats.Header{"Nats-Msg-Id": {"gps.1.0"}}})
		if err != nil {
			t.Fatal(err)
		}
		if ack.Sequence != 1 {
			t.Errorf("%s was stored as %d, want 1", subject, ack.Sequence)
		}
	}
	m, err := stream(t, b.Traffic(), "SERIAL_HISTORY").GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != "serial.gps.rx" || string(m.Data) != "a" {
		t.Errorf("the history has %q on %s", m.Data, m.Subject)
	}
	if m, err := live.NextMsg(10 * time.Second); err != nil || m.Subject != "serial.gps.rx" {
		t.Errorf("seen live: %v, %v", m, err)
	}
	if m, err := live.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("also seen live: %s", m.Subject)
	}
}

// smallDisk is a folder with a file system of its own, of 24 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("NOT TESTED: what happens on a full disk. A file system cannot be mounted here: %v; it takes root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room on a file system but some, and returns what gives it back.
func fill(t *testing.T, dir string, leave int) (free func()) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "filler")
	if err := os.WriteFile(path, make([]byte, int(fs.Bavail)*int(fs.Bsize)-leave), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// fullUp publishes until a stream stores no more.
func fullUp(t *testing.T, nc *nats.Conn, subject string, size int) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for range 1 << 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := js.Publish(ctx, subject, make([]byte, size))
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return // as publishers see it
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the disk does not fill up")
}

func rewind(t *testing.T, b *broker.Broker, port string) {
	t.Helper()
	if _, err := b.RewindQueue(t.Context(), port); err != nil {
		t.Fatal(err)
	}
}

// delivered are frames that a port's writer has in hand.
func delivered(t *testing.T, b *broker.Broker, port string, count int) (jetstream.Consumer, jetstream.MessageBatch) {
	t.Helper()
	target := b.Target(port)
	consumer, err := stream(t, b.Control(), target.Stream).Consumer(t.Context(), target.Consumer)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(count, jetstream.FetchMaxWait(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	wait(t, func() error { // the request for them must have been served before anything is done about the store
		info, err := consumer.Info(t.Context())
		if err == nil && info.NumAckPending != count {
			err = fmt.Errorf("%d frames are delivered, want %d", info.NumAckPending, count)
		}
		return err
	})
	return consumer, batch
}

// TestFullDiskIsMended fills the disk and frees it again. What was acknowledged meanwhile is gone from the queue, and what
// was not is there.
func TestFullDiskIsMended(t *testing.T) {
	o := options(t)
	o.StateDir = smallDisk(t)
	o.Queues = append(o.Queues, broker.Queue{Port: "plc", Limits: broker.Limits{Memory: true, MaxMessages: 10}, MaxFrame: 4096})
	b := start(t, o)
	mended := make(chan struct{}, 16)
	ctx, cancel := context.WithCancel(t.Context())
	watching := make(chan error, 1)
	go func() { watching <- b.Watch(ctx, func(bool) {}, func(map[string]broker.Loss) { mended <- struct{}{} }) }()
	defer func() {
		cancel()
		if err := <-watching; err != nil {
			t.Error(err)
		}
	}()
	if state, problem := b.Store(); state != ipc.StoreOK || problem != "" {
		t.Errorf("at first the store is %s: %s", state, problem)
	}
	queue(t, b, "gps", "a", "b", "c", "d")
	queue(t, b, "plc", "x")
	consumer, batch := delivered(t, b, "gps", 3)

	free := fill(t, o.StateDir, 1<<20)
	fullUp(t, b.Traffic(), "serial.gps.rx", 40000)
	fullUp(t, b.Control(), "serial.echo.tx", 4000)
	wait(t, func() error {
		if state, problem := b.Store(); state != ipc.StoreFull || !strings.Contains(problem, "no space left on device") || !strings.Contains(problem, "KiB are free") {
			return fmt.Errorf("the store is %s: %s", state, problem)
		}
		return nil
	})
	for range 2 {
		if err := (<-batch.Messages()).Ack(); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, func() error {
		info, err := consumer.Info(t.Context())
		if err == nil && info.AckFloor.Stream != 2 {
			err = fmt.Errorf("acknowledged up to %d", info.AckFloor.Stream)
		}
		return err
	})
	if _, err := b.RewindQueue(t.Context(), "gps"); err == nil {
		t.Error("a writer was to be started although the queue cannot forget what its predecessor has written")
	}

	free()
	select {
	case <-mended:
	case <-time.After(30 * time.Second):
		state, problem := b.Store()
		t.Fatalf("not mended after there is room: %s: %s", state, problem)
	}
	if state, problem := b.Store(); state != ipc.StoreOK || problem != "" {
		t.Errorf("then the store is %s: %s", state, problem)
	}
	for _, port := range []string{"gps", "plc"} {
		queue(t, b, port, "e")
		rewind(t, b, port)
	}
	if got := fetch(t, b, "gps", 3); !slices.Equal(got, []string{"c", "d", "e"}) {
		t.Errorf("gps has %q waiting, want c d e", got)
	}
	if got := fetch(t, b, "plc", 1); !slices.Equal(got, []string{"e"}) {
		t.Errorf("plc has %q waiting, want e alone: its queue is in memory", got)
	}
	js, err := jetstream.New(b.Traffic())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "serial.gps.rx", nil); err != nil {
		t.Errorf("the history does not store: %v", err)
	}
}

// TestMendingLosesNoAcknowledgement acknowledges frames while the store is being started again.
func TestMendingLosesNoAcknowledgement(t *testing.T) {
	b := start(t, options(t))
	var frames []string
	for i := range 80 {
		frames = append(frames, fmt.Sprint(i))
	}
	queue(t, b, "gps", frames...)
	_, batch := delivered(t, b, "gps", len(frames)-1)
	mending := make(chan error, 1)
	go func() { mending <- b.Mend(t.Context()) }()
	count := 0
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for m := range batch.Messages() {
		<-pace.C
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
		count++
	}
	if err := <-mending; err != nil {
		t.Fatal(err)
	}
	if count != len(frames)-1 {
		t.Fatalf("%d frames were delivered, want %d", count, len(frames)-1)
	}
	wait(t, func() error {
		n, err := b.Queued(t.Context(), "gps")
		if err == nil && n != 1 {
			err = fmt.Errorf("%d frames are still in the queue, want 1", n)
		}
		return err
	})
	rewind(t, b, "gps")
	if got := fetch(t, b, "gps", 1); !slices.Equal(got, frames[len(frames)-1:]) {
		t.Errorf("the queue has %q, want %q", got, frames[len(frames)-1:])
	}
}

// TestRewindAfterMending guards against a server that serves each request several times once it was mended: the consumer of
// a queue must not be deleted after it was made anew.
func TestRewindAfterMending(t *testing.T) {
	b := start(t, options(t))
	queue(t, b, "gps", "a")
	for range 5 {
		if err := b.Mend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 {
		rewind(t, b, "gps")
		if got := fetch(t, b, "gps", 1); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("fetched %q, want a", got)
		}
	}
}
