package publish_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/publish"
)

// A stream that has dropped what it was sent is found out by the first message that it stores, and gets the rest again.
func TestStreamThatDrops(t *testing.T) {
	b := newBench(t, nil)
	h, p := newHung(t, b), newLosing(t, b)
	p.publish(t, 0, window+10)
	for range window + 10 {
		h.next(h.first)
	}
	p.want(t, 10, 10)
	p.publish(t, window+10, window+11)
	h.store(h.next(h.first))
	for i := 11; i < window+10; i++ {
		m := h.next(h.repeated)
		if string(m.Data) != string(message(i).Data) {
			t.Fatalf("message %s was repeated, want %d", m.Data, i)
		}
		h.store(m)
	}
	flush(t, p.Publisher)
	p.want(t, 11, window+11)
	// What is not answered soon is repeated once more, where nobody but the stream sees it.
	if n, _, _ := h.first.Pending(); n > 0 {
		t.Errorf("%d messages too many were sent on %s", n, h.first.Subject)
	}
}

// While nothing new comes the oldest message alone is repeated, to find out whether the stream is back.
func TestSilentStreamIsProbed(t *testing.T) {
	b := newBench(t, nil)
	h, p := newHung(t, b), newLosing(t, b)
	p.publish(t, 0, 100)
	var probe *nats.Msg
	for range 3 {
		if probe = h.next(h.repeated); string(probe.Data) != "0" {
			t.Fatalf("message %s was repeated, want 0", probe.Data)
		}
	}
	h.store(probe)
	for i := 1; i < 100; i++ {
		m := h.next(h.repeated)
		if string(m.Data) != string(message(i).Data) {
			t.Fatalf("message %s was repeated, want %d", m.Data, i)
		}
		h.store(m)
	}
	flush(t, p.Publisher)
	p.want(t, 0, 100)
}

// One that is only slow is not sent the same once more, however long it takes: by then it may have forgotten that it has it.
func TestSlowStreamGetsNothingTwice(t *testing.T) {
	b := newBench(t, nil)
	h, p := newHung(t, b), newLosing(t, b, publish.Patience(100*time.Millisecond), publish.WaitWhile(func() bool { return true }))
	const count = 100
	p.publish(t, 0, count)
	// It comes to the questions when it has seen to what was before them.
	questions := make([]*nats.Msg, 5)
	for i := range questions {
		var err error
		if questions[i], err = h.repeated.NextMsg(10 * time.Second); err != nil || !isQuestion(questions[i]) {
			t.Fatalf("it was sent %v, %v, want a question", questions[i], err)
		}
	}
	for range count {
		h.store(h.next(h.first))
	}
	for _, q := range questions {
		h.refuse(q)
	}
	flush(t, p.Publisher)
	p.want(t, 0, count)
	if m, err := h.repeated.NextMsg(500 * time.Millisecond); err == nil && !isQuestion(m) {
		t.Errorf("message %s was sent again", m.Data)
	}
}

// A real stream answers a question behind all that was sent before, and stores nothing.
func TestQuestion(t *testing.T) {
	for _, storage := range []jetstream.StorageType{jetstream.MemoryStorage, jetstream.FileStorage} {
		b := newBench(t, &jetstream.StreamConfig{Storage: storage})
		const count = 2000
		for i := range count {
			if err := b.nc.PublishMsg(message(i)); err != nil {
				t.Fatal(err)
			}
		}
		m, err := b.nc.RequestMsgWithContext(t.Context(), publish.Question("s"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(m.Data), `"err_code":10071`) {
			t.Errorf("a question was answered %s", m.Data)
		}
		b.wantStored(t, count)
	}
}

// Flush asks a stream that has been silent, and returns with its context.
func TestFlushAsks(t *testing.T) {
	b := newBench(t, nil)
	h := newHung(t, b)
	p := &losing{}
	var err error
	p.Publisher, err = publish.New(b.nc, slog.New(slog.DiscardHandler), nil, publish.GiveUpAfter(testStall, func(delta int) { p.lost.Add(int64(delta)) }),
		publish.RepeatOn(func(s string) string { return s + ".again" }), publish.Patience(time.Nanosecond)) // without Run, which asks too
	if err != nil {
		t.Fatal(err)
	}
	p.publish(t, 0, 2)
	h.next(h.first)
	h.next(h.first)
	ctx, cancel := context.WithTimeout(t.Context(), testStall/3)
	defer cancel()
	begun := time.Now()
	if err := p.Flush(ctx); err == nil || !strings.Contains(err.Error(), "2 messages") {
		t.Errorf("Flush = %v, want an error that counts 2 messages", err)
	}
	if took := time.Since(begun); took > testStall {
		t.Errorf("Flush took %s, longer than its context", took)
	}
	if m, err := h.repeated.NextMsg(10 * time.Second); err != nil || !isQuestion(m) {
		t.Errorf("Flush sent %v, %v, want a question", m, err)
	}
	p.want(t, 0, 0)
}
