package publish_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/publish"
)

// hung is a stream that the test plays: it takes messages, and answers when it is told to.
type hung struct {
	t        *testing.T
	nc       *nats.Conn
	first    *nats.Subscription // what is published
	repeated *nats.Subscription
}

func newHung(t *testing.T, b *bench) *hung {
	t.Helper()
	h := &hung{t: t, nc: b.connect(t)}
	for subject, sub := range map[string]**nats.Subscription{"s": &h.first, "s.again": &h.repeated} {
		var err error
		if *sub, err = h.nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		if err := (*sub).SetPendingLimits(-1, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return h
}

// next takes a message, and answers questions before it.
func (h *hung) next(sub *nats.Subscription) *nats.Msg {
	h.t.Helper()
	for {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			h.t.Fatal(err)
		}
		if !isQuestion(m) {
			return m
		}
		h.refuse(m)
	}
}

func isQuestion(m *nats.Msg) bool { return m.Header.Get(nats.ExpectedLastSeqHdr) != "" }

// refuse answers a question as a stream does.
func (h *hung) refuse(question *nats.Msg) {
	h.t.Helper()
	if err := question.Respond([]byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 0"},"stream":"S","seq":0}`)); err != nil {
		h.t.Fatal(err)
	}
}

// store answers as a stream that has stored a message.
func (h *hung) store(m *nats.Msg) {
	h.t.Helper()
	if err := m.Respond([]byte(`{"stream":"S","seq":1}`)); err != nil {
		h.t.Fatal(err)
	}
}

// connect is another connection, of whoever else there is.
func (b *bench) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// testStall is long enough for a busy machine not to be taken for a stream that hangs.
const testStall = 1500 * time.Millisecond

// losing is a publisher that gives up after testStall, and what it says.
type losing struct {
	*publish.Publisher
	lost atomic.Int64
	mark atomic.Uint64
}

func newLosing(t *testing.T, b *bench, options ...publish.Option) *losing {
	t.Helper()
	p := &losing{}
	p.Publisher = b.publisher(t, p.mark.Store, append([]publish.Option{
		publish.GiveUpAfter(testStall, func(delta int) { p.lost.Add(int64(delta)) }),
		publish.RepeatOn(func(s string) string { return s + ".again" }), publish.Patience(testStall),
	}, options...)...)
	return p
}

// publish sends the messages from … end-1 with the marks 1, 2, …
func (p *losing) publish(t *testing.T, from, end int) {
	t.Helper()
	for i := from; i < end; i++ {
		if err := p.Publish(t.Context(), message(i), uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *losing) want(t *testing.T, lost, mark int) {
	t.Helper()
	if p.lost.Load() != int64(lost) || p.mark.Load() != uint64(mark) {
		t.Errorf("%d messages are counted as lost and those up to mark %d are no longer needed, want %d and %d", p.lost.Load(), p.mark.Load(), lost, mark)
	}
}

const window = publish.WindowMessages

// A stream that hangs holds its publisher up once, and stores in the end what it was sent: nothing is lost, and nobody has
// seen a message twice.
func TestStreamThatHangs(t *testing.T) {
	b := newBench(t, nil)
	h, p := newHung(t, b), newLosing(t, b, publish.Patience(time.Minute)) // it is not asked meanwhile
	p.publish(t, 0, window)
	p.want(t, 0, 0)
	const more = 20000
	begun := time.Now()
	p.publish(t, window, window+more)
	if took := time.Since(begun); took < testStall/2 {
		t.Errorf("a full window held nobody up: %s", took)
	}
	p.want(t, more, more)

	for i := range window + more {
		m := h.next(h.first)
		if i == 100 { // somewhere in between the publisher goes on
			p.publish(t, window+more, window+more+1)
		}
		h.store(m)
	}
	h.store(h.next(h.first))
	flush(t, p.Publisher)
	p.want(t, 0, window+more+1)
	// It keeps up again, so that it is waited for.
	p.publish(t, window+more+1, window+more+2)
	h.store(h.next(h.first))
	flush(t, p.Publisher)
	for _, sub := range []*nats.Subscription{h.first, h.repeated} {
		if n, _, _ := sub.Pending(); n > 0 {
			t.Errorf("%d messages were sent again on %s", n, sub.Subject)
		}
	}
	for _, want := range []string{"the stream does not keep up", "the stream keeps up again"} {
		if n := strings.Count(b.log.String(), want); n != 1 {
			t.Errorf("the log says %d times %q, want once:\n%s", n, want, b.log)
		}
	}
}

// A stream that stores everything late does not hold its publisher up, which nobody would see from its acknowledgements
// alone: they keep coming.
func TestSlowStreamIsNotWaitedFor(t *testing.T) {
	b := newBench(t, nil)
	h, p := newHung(t, b), newLosing(t, b)
	p.publish(t, 0, window)
	late := time.NewTimer(2 * testStall)
	defer late.Stop()
	<-late.C
	const more = 2000
	var longest time.Duration
	for i := window; i < window+more; i++ {
		if i%10 == 0 {
			h.store(h.next(h.first))
		}
		begun := time.Now()
		p.publish(t, i, i+1)
		longest = max(longest, time.Since(begun))
	}
	if longest > testStall/2 {
		t.Errorf("a message was held up for %s by a stream that answers late", longest)
	}
	for range window + more - more/10 {
		h.store(h.next(h.first))
	}
	flush(t, p.Publisher)
	p.want(t, 0, window+more)
}

// A stream that is known to store is waited for beyond the time after which others are not, as it would else never be done.
// It is not waited for for ever.
func TestStreamThatStoresIsWaitedFor(t *testing.T) {
	b := newBench(t, nil)
	const patient = 3 * testStall
	h, p := newHung(t, b), newLosing(t, b, publish.WaitWhile(func() bool { return true }), publish.Patience(time.Minute), publish.Patient(patient))
	p.publish(t, 0, window)
	answer := time.AfterFunc(2*testStall, func() {
		if m, err := h.first.NextMsg(time.Second); err != nil || m.Respond([]byte(`{"stream":"S","seq":1}`)) != nil {
			t.Error("no message came")
		}
	})
	defer answer.Stop()
	begun := time.Now()
	p.publish(t, window, window+1)
	if took := time.Since(begun); took < 2*testStall*9/10 {
		t.Errorf("a stream that stores was waited for for %s, although it answered after %s", took, 2*testStall)
	}
	p.want(t, 0, 1)
	p.publish(t, window+1, window+2)
	p.want(t, 1, 2)
	if took := time.Since(begun); took < patient {
		t.Errorf("a message was given up after %s, want %s", took, patient)
	}
}

// When a stream is known to store again its publisher waits for it at once, and asks it what it has.
func TestStreamThatStoresAgain(t *testing.T) {
	b := newBench(t, nil)
	var stores atomic.Bool
	h, p := newHung(t, b), newLosing(t, b, publish.WaitWhile(stores.Load), publish.Patience(time.Minute), publish.Patient(time.Minute))
	p.publish(t, 0, window+10)
	p.want(t, 10, 10)
	for range window + 10 { // which are lost
		h.next(h.first)
	}
	<-time.After(publish.Haste) // till then they are left alone
	stores.Store(true)
	more := make(chan error, 1)
	go func() { more <- p.Publish(t.Context(), message(window+10), window+11) }() // ends when it is stored
	for i := 10; i < window+10; i++ {
		m := h.next(h.repeated)
		if string(m.Data) != string(message(i).Data) {
			t.Fatalf("message %s was repeated, want %d", m.Data, i)
		}
		h.store(m)
	}
	if err := <-more; err != nil {
		t.Fatal(err)
	}
	h.store(h.next(h.first))
	flush(t, p.Publisher)
	p.want(t, 10, window+11)
}

// A caller who has no room himself gives up what has waited long enough, and nothing else.
func TestRelieve(t *testing.T) {
	b := newBench(t, nil)
	h, p := newHung(t, b), newLosing(t, b)
	if wait := p.Relieve(); wait != testStall {
		t.Errorf("with nothing under way it is to wait for %s, want %s", wait, testStall)
	}
	p.publish(t, 0, 3)
	if _, ok := p.Oldest(); !ok {
		t.Error("the oldest of three messages is not known")
	}
	wait := p.Relieve()
	if wait <= 0 || wait > testStall {
		t.Errorf("a message that was just sent may wait for %s, want at most %s", wait, testStall)
	}
	p.want(t, 0, 0)
	<-time.After(wait)
	if wait := p.Relieve(); wait != 0 {
		t.Errorf("a message that has waited long enough may wait for %s still", wait)
	}
	p.want(t, 1, 1)
	for range 3 {
		h.store(h.next(h.first))
	}
	flush(t, p.Publisher)
	p.want(t, 0, 3)
}

// A smaller window is full sooner.
func TestSmallWindow(t *testing.T) {
	b := newBench(t, nil)
	newHung(t, b)
	p := newLosing(t, b, publish.Window(10))
	p.publish(t, 0, 15)
	p.want(t, 5, 5)
}

// What can never be stored counts as lost too.
func TestTooLongIsLost(t *testing.T) {
	b := newBench(t, &jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgSize: 100})
	p := newLosing(t, b)
	if err := p.Publish(t.Context(), &nats.Msg{Subject: "s", Data: make([]byte, 200)}, 1); err != nil {
		t.Fatal(err)
	}
	flush(t, p.Publisher)
	p.want(t, 1, 1)
}

// While the connection is down the caller waits: nobody would have what is sent.
func TestNothingIsGivenUpWithoutAConnection(t *testing.T) {
	b := newBench(t, nil)
	nc, err := nats.Connect(b.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Hour), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	lost := make(chan int, window)
	p, err := publish.New(nc, slog.New(slog.DiscardHandler), nil, publish.GiveUpAfter(testStall/10, func(delta int) { lost <- delta }))
	if err != nil {
		t.Fatal(err)
	}
	down := make(chan struct{})
	nc.SetDisconnectErrHandler(func(*nats.Conn, error) { close(down) })
	id, err := nc.GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.server.DisconnectClientByID(id); err != nil {
		t.Fatal(err)
	}
	<-down
	ctx, cancel := context.WithTimeout(t.Context(), testStall)
	defer cancel()
	for i := 0; err == nil; i++ {
		err = p.Publish(ctx, message(i), 0)
	}
	if ctx.Err() == nil {
		t.Fatal(err)
	}
	if n := len(lost); n > 0 {
		t.Errorf("%d messages were given up", n)
	}
}
