package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// liveTap is a program that subscribes to what the port receives, and knows nothing of the history.
type liveTap struct {
	mu      sync.Mutex // guards all below
	ids     map[string]int
	last    time.Time
	longest time.Duration // between two frames
}

func (g *gateway) liveTap(t *testing.T) *liveTap {
	t.Helper()
	l := &liveTap{ids: map[string]int{}}
	nc := g.connect(t, "tap")
	sub, err := nc.Subscribe("serial.gps.rx", func(m *nats.Msg) {
		l.mu.Lock()
		defer l.mu.Unlock()
		now := time.Now()
		if !l.last.IsZero() {
			l.longest = max(l.longest, now.Sub(l.last))
		}
		l.last = now
		l.ids[m.Header.Get("Nats-Msg-Id")]++
	})
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// seen is how many frames came, and how many of them more than once.
func (l *liveTap) seen() (frames, repeated int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.ids {
		if n > 1 {
			repeated++
		}
	}
	return len(l.ids), repeated
}

// pause is the longest time without a frame, so far.
func (l *liveTap) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.longest
}

// talk has the device say some 4,000 lines a second, each of some bytes, until the returned function is called, which says
// how many they were.
func (g *gateway) talk(t *testing.T, size int) (stop func() int) {
	t.Helper()
	ended, done := make(chan struct{}), make(chan int, 1)
	device := g.device
	go func() { // ends with ended, or when the device is closed
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for n := 0; ; {
			var lines bytes.Buffer
			for range 40 {
				fmt.Fprintf(&lines, "line %d %s\n", n, strings.Repeat(".", size))
				n++
			}
			_, err := device.Write(lines.Bytes())
			select {
			case <-pace.C:
				if err != nil {
					t.Errorf("the device cannot speak: %v", err)
					done <- n
					return
				}
			case <-ended:
				done <- n
				return
			}
		}
	}()
	return func() int {
		close(ended)
		return <-done
	}
}

// history is the gateway's, for a stock client.
func (g *gateway) history(t *testing.T) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(g.connect(t, "tap"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "SERIAL_HISTORY")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// count says how much the history has on a subject.
func count(t *testing.T, s jetstream.Stream, subject string) uint64 {
	t.Helper()
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects[subject]
}

// wantCounted waits until every frame, received or sent, is either in the history or counted as lost, and checks that none
// that was received is there twice.
func (g *gateway) wantCounted(t *testing.T, received int) {
	t.Helper()
	h := g.history(t)
	var rx, sent uint64
	var last portNumbers
	defer func() {
		if t.Failed() {
			t.Logf("of %d received %d are stored and %d counted as lost; of %d sent %d and %d", received, rx, last.Rx.LostHistory, last.Tx.Frames, sent, last.Tx.LostHistory)
		}
	}()
	g.await(t, "every frame is stored or counted as lost", func(p portNumbers) bool {
		last = p
		rx, sent = count(t, h, "serial.gps.rx"), count(t, h, "serial.gps.sent")
		return p.Rx.Frames == uint64(received) && rx+p.Rx.LostHistory == p.Rx.Frames && sent+p.Tx.LostHistory == p.Tx.Frames
	})
	consumer, err := h.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{"serial.gps.rx"}})
	if err != nil {
		t.Fatal(err)
	}
	stored := count(t, h, "serial.gps.rx")
	ids := map[string]bool{}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for range stored {
		m, err := messages.Next(jetstream.NextContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		ids[m.Headers().Get("Nats-Msg-Id")] = true
	}
	if len(ids) != int(stored) {
		t.Errorf("the history has %d frames, of which %d are different", stored, len(ids))
	}
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	p := s.Ports[0]
	t.Logf("received %d frames: %d are stored, %d counted as lost; sent %d, lost %d", received, stored, p.Rx.LostHistory, p.Tx.Frames, p.Tx.LostHistory)
}
