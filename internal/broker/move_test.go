package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// breaking is a context that ends when it was asked for its end some times: somewhere in what is done with it.
type breaking struct {
	context.Context
	left atomic.Int64
	end  func()
}

func breakAfter(t *testing.T, questions int) *breaking {
	c := &breaking{}
	c.Context, c.end = context.WithCancel(t.Context())
	t.Cleanup(c.end)
	c.left.Store(int64(questions))
	return c
}

func (c *breaking) Done() <-chan struct{} {
	if c.left.Add(-1) == 0 {
		c.end()
	}
	return c.Context.Done()
}

// A move is broken off anywhere, and so is the one to another place that follows. At last all is there in order, and once.
func TestMovesAreBrokenOff(t *testing.T) {
	const steps = 40
	var broken atomic.Int64
	t.Run("at", func(t *testing.T) {
		for i := range steps {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				o := options(t)
				b := start(t, o)
				var want []string
				for i := range 20 {
					want = append(want, fmt.Sprint(i))
				}
				queue(t, b, "gps", want...)
				with := func(l broker.Limits) []broker.Queue {
					queues := slices.Clone(o.Queues)
					queues[0].Limits = l
					return queues
				}
				narrow, memory := broker.Limits{MaxMessages: 10}, broker.Limits{MaxMessages: 100, Memory: true}
				for j, queues := range [][]broker.Queue{with(narrow), with(memory), with(narrow)} {
					if b.SetQueues(breakAfter(t, 2+7*i*(3-j)/2), queues) != nil {
						broken.Add(1)
					}
				}
				last := [][]broker.Queue{with(limits), with(memory), with(narrow)}[i%3]
				if err := b.SetQueues(t.Context(), last); err != nil {
					t.Fatal(err)
				}
				if _, err := b.RewindQueue(t.Context(), "gps"); err != nil {
					t.Fatal(err)
				}
				if n, err := b.Queued(t.Context(), "gps"); err != nil || n != uint64(len(want)) {
					t.Fatalf("%d frames wait, want %d, error %v", n, len(want), err)
				}
				if got := fetch(t, b, "gps", len(want)); !slices.Equal(got, want) {
					t.Errorf("the writer gets %q", got)
				}
			})
		}
	})
	if n := broken.Load(); n < steps {
		t.Errorf("the test is wrong: only %d moves were broken off", n)
	}
}

// A queue that holds more than its new limit keeps that, and takes no more, until it holds less.
func TestALowerLimitDropsNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		apply func(t *testing.T, b *broker.Broker, o broker.Options) *broker.Broker
	}{
		{"at a start", func(t *testing.T, b *broker.Broker, o broker.Options) *broker.Broker {
			b.Shutdown()
			return start(t, o)
		}},
		{"at a reload", func(t *testing.T, b *broker.Broker, o broker.Options) *broker.Broker {
			if err := b.SetQueues(t.Context(), o.Queues); err != nil {
				t.Fatal(err)
			}
			rewindAll(t, b, o.Queues)
			return b
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t)
			o.Queues = o.Queues[:1]
			b := start(t, o)
			queue(t, b, "gps", "a", "b", "c")
			o.Queues = slices.Clone(o.Queues)
			o.Queues[0].Limits.MaxMessages = 2
			b = c.apply(t, b, o)
			js, err := jetstream.New(b.Control())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "serial.gps.tx", []byte("d")); err == nil {
				t.Error("a fourth frame was accepted")
			}
			if got := fetch(t, b, "gps", 3); !slices.Equal(got, []string{"a", "b", "c"}) {
				t.Fatalf("gps has %q waiting, want a b c", got)
			}
			s := stream(t, b.Control(), b.Target("gps").Stream)
			if err := s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			b = c.apply(t, b, o)
			queue(t, b, "gps", "x", "y")
			if js, err = jetstream.New(b.Control()); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "serial.gps.tx", []byte("z")); err == nil {
				t.Error("a third frame was accepted when the queue held less")
			}
		})
	}
}

// What a sender has told the server in headers was done when the frame was queued, and the rest goes along.
func TestHeadersOfFramesThatMove(t *testing.T) {
	o := options(t)
	b := start(t, o)
	js, err := jetstream.New(b.Control())
	if err != nil {
		t.Fatal(err)
	}
	for i, frame := range []string{"one", "two"} {
		_, err = js.PublishMsg(t.Context(), &nats.Msg{Subject: "serial.gps.tx", Data: []byte(frame), Header: nats.Header{
			"Nats-Expected-Stream": {"SERIAL_QUEUE"}, "Nats-Expected-Last-Sequence": {fmt.Sprint(i)}, ipc.HeaderMsgID: {frame},
			ipc.HeaderTTL: {"1h"}, ipc.HeaderFlags: {"partial"}, "Plant": {"7"},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	before, err := b.NextQueued(t.Context(), "gps", 0)
	if err != nil {
		t.Fatal(err)
	}
	first, err := b.RewindQueue(t.Context(), "gps")
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int64{50, 100, 60} {
		o.Queues = slices.Clone(o.Queues)
		o.Queues[0].Limits.MaxMessages = most
		if err := b.SetQueues(t.Context(), o.Queues); err != nil {
			t.Fatal(err)
		}
	}
	after, err := b.NextQueued(t.Context(), "gps", 0)
	if err != nil || after == nil {
		t.Fatalf("nothing waits; %v", err)
	}
	if after.Stored.Equal(before.Stored) {
		t.Fatal("the test is wrong: nothing was moved")
	}
	if since, ttl := after.Waits(); !since.Equal(before.Stored) || ttl != time.Hour {
		t.Errorf("it waits since %s for %s, want since %s for an hour", since, ttl, before.Stored)
	}
	for name, want := range map[string]string{ipc.HeaderFlags: "partial", "Plant": "7", ipc.HeaderTTL: "", "Nats-Expected-Stream": ""} {
		if got := after.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	// Whoever knows it by its place in the first queue finds it in the last.
	if moved, err := b.Moved(t.Context(), "gps", first); err != nil || moved[before.Seq] != after.Seq {
		t.Errorf("moved: %v, error %v; want %d to be %d now", moved, err, before.Seq, after.Seq)
	}
}

// A frame that the broker does not take any more is told of, and those behind it move.
func TestAFrameThatIsTooLongToMove(t *testing.T) {
	o := options(t)
	o.MaxFrame = 3 << 20
	o.Queues[0].MaxFrame = o.MaxFrame
	b := start(t, o)
	queue(t, b, "gps", strings.Repeat("w", 2<<20), strings.Repeat("v", 2000), "small")
	b.Shutdown()
	o = broker.Options{Name: o.Name, Listen: o.Listen, StateDir: o.StateDir, Root: o.Root, MaxFrame: 1024, History: o.History, Queues: slices.Clone(o.Queues), Log: o.Log}
	o.Queues[0].MaxFrame = 1024
	slices.Reverse(o.Queues) // so that gps is the one with a stream of its own
	b = start(t, o)
	// The second is for the writer to refuse.
	if got := fetch(t, b, "gps", 2); len(got) != 2 || len(got[0]) != 2000 || got[1] != "small" {
		t.Errorf("%d frames wait, want a long one and a small one", len(got))
	}
	wait(t, func() error {
		m, err := stream(t, b.Traffic(), b.HistoryStream()).GetLastMsgForSubject(t.Context(), "serial.gps.expired")
		if err == nil && !strings.Contains(m.Header.Get(ipc.HeaderReason), "more than max_bytes") {
			err = fmt.Errorf("the reason is %q", m.Header.Get(ipc.HeaderReason))
		}
		return err
	})
}

// Who sends while the config is reloaded is refused, or comes behind what waited.
func TestNobodyPassesWhatMoves(t *testing.T) {
	o := options(t)
	b := start(t, o)
	js, err := jetstream.New(b.Control())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		queue(t, b, "gps", fmt.Sprint(i))
	}
	o.Queues = slices.Clone(o.Queues)
	o.Queues[0].Limits.MaxMessages = 100000
	over, accepted := make(chan struct{}), 0
	var sending sync.WaitGroup
	sending.Go(func() {
		for n := 100; ; {
			select {
			case <-over:
				return
			default:
			}
			if _, err := js.Publish(t.Context(), "serial.gps.tx", []byte(fmt.Sprint(n)), jetstream.WithRetryAttempts(0)); err == nil {
				n++
				accepted++
			}
		}
	})
	err = b.SetQueues(t.Context(), o.Queues)
	close(over)
	sending.Wait()
	if err != nil {
		t.Fatal(err)
	}
	rewindAll(t, b, o.Queues)
	for i, got := range fetch(t, b, "gps", 100+accepted) {
		if got != fmt.Sprint(i) {
			t.Fatalf("frame %s is number %d", got, i)
		}
	}
}
