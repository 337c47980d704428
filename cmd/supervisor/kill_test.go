package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// kills is how often each worker is killed. SERIALVISOR_KILLS=1000 makes a long run of it.
func kills(t *testing.T) int {
	text := os.Getenv("SERIALVISOR_KILLS")
	if text == "" {
		return 25
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SERIALVISOR_KILLS: %v", err)
	}
	return n
}

// killAgainAndAgain kills a worker with SIGKILL whenever it is at work, until it was so often.
func (g *gateway) killAgainAndAgain(t *testing.T, name string, n int) {
	t.Helper()
	last := 0
	for range n {
		waitUntil(t, name+" is at work again", func() bool {
			s, err := g.status()
			if err != nil {
				return false
			}
			for _, w := range s.Workers {
				if w.Name == name && w.State == ipc.WorkerRunning && w.PID != last {
					last = w.PID
					return syscall.Kill(last, syscall.SIGKILL) == nil
				}
			}
			return false
		})
	}
}

// stored reads what the history has on a subject, message by message: unlike tap it does not hide what is there twice.
func (g *gateway) stored(t *testing.T, subject string) (payloads []string) {
	t.Helper()
	nc := g.connect(t, "tap")
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	consumer, err := js.OrderedConsumer(ctx, "SERIAL_HISTORY", jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for want := int(info.NumPending); len(payloads) < want; {
		batch, err := consumer.Fetch(min(want-len(payloads), 1000), jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatalf("after %d of %d messages: %v", len(payloads), want, err)
		}
		before := len(payloads)
		for m := range batch.Messages() {
			payloads = append(payloads, string(m.Data()))
		}
		if len(payloads) == before {
			t.Fatalf("after %d of %d messages: %v", len(payloads), want, batch.Error())
		}
	}
	return payloads
}

// sayLines has the device say numbered lines, so many every 5 ms. The returned function ends it and says how many there were.
func (g *gateway) sayLines(each int) (stop func() int) {
	end, said := make(chan struct{}), make(chan int)
	go func() { // ends with end
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-end:
				said <- n
				return
			case <-tick.C:
				var lines bytes.Buffer
				for range each {
					fmt.Fprintf(&lines, "line %d\n", n)
					n++
				}
				if _, err := g.device.Write(lines.Bytes()); err != nil {
					<-end
					said <- -1
					return
				}
			}
		}
	}()
	return func() int {
		close(end)
		return <-said
	}
}

// awaitLines waits until the history has as many of those lines, and wants each once and in order.
func (g *gateway) awaitLines(t *testing.T, count int) {
	t.Helper()
	var lines []string
	waitUntil(t, "all lines are stored", func() bool { lines = g.stored(t, "serial.gps.rx"); return len(lines) >= count })
	for i, line := range lines {
		if line != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d of %d in the history is %q; %d were said", i, len(lines), line, count)
		}
	}
	if len(lines) != count {
		t.Errorf("%d lines are stored and %d were said", len(lines), count)
	}
}

// hearUntil collects what the device is sent, up to an end.
func (g *gateway) hearUntil(end string) <-chan []byte {
	heard := make(chan []byte, 1)
	go func() { // ends when the device is closed at the latest
		var all []byte
		buffer := make([]byte, 64<<10)
		for {
			n, err := g.device.Read(buffer)
			from := max(0, len(all)-len(end))
			all = append(all, buffer[:n]...)
			if i := bytes.Index(all[from:], []byte(end)); i >= 0 { // it may have been sent more since
				heard <- all[:from+i+len(end)]
				return
			}
			if err != nil {
				heard <- all
				return
			}
		}
	}()
	return heard
}

// The history has each line once and in order, however often the reader is killed while the device speaks.
func TestReaderKilled(t *testing.T) {
	g := startGateway(t)
	stop := g.sayLines(10) // 2000 a second
	g.killAgainAndAgain(t, "gps/reader", kills(t))
	count := stop()
	g.await(t, "all lines are counted", func(p portNumbers) bool { return p.Rx.Frames == uint64(count) })
	g.awaitLines(t, count)
}

// The device gets each frame once, whole and in order, however often the writer is killed, and the history has each once.
func TestWriterKilled(t *testing.T) {
	g := startGateway(t, "queue: {storage: file, max_messages: 1000000}")
	stop := make(chan struct{})
	queued := make(chan int)
	nc := g.connect(t, "send")
	go func() { // ends with stop
		n := 0
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				queued <- n
				return
			case <-tick.C:
				for range 5 { // 1000 frames a second
					if _, err := nc.Request("serial.gps.tx", fmt.Appendf(nil, "frame %d %s", n, strings.Repeat("x", n%200)), patience); err != nil {
						queued <- -1
						return
					}
					n++
				}
			}
		}
	}()
	heard := g.hearUntil("the end\n")
	g.killAgainAndAgain(t, "gps/writer", kills(t))
	close(stop)
	count := <-queued
	if _, err := nc.Request("serial.gps.tx", []byte("the end"), patience); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for n := range count {
		fmt.Fprintf(&want, "frame %d %s\n", n, strings.Repeat("x", n%200))
	}
	want.WriteString("the end\n")
	select {
	case got := <-heard:
		if !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("the device has got %d bytes that are not the %d of %d frames; they differ from %q on", len(got), want.Len(), count, firstDifference(got, want.Bytes()))
		}
	case <-time.After(3 * patience):
		t.Fatal("the last frame does not come")
	}
	var told []string
	waitUntil(t, "all frames are told", func() bool { told = g.stored(t, "serial.gps.sent"); return len(told) > count })
	if got := strings.Join(told, ""); got != want.String() {
		t.Errorf("the history has %d frames, of %d; they differ from %q on", len(told), count+1, firstDifference([]byte(got), want.Bytes()))
	}
	g.await(t, "all frames are counted and none is left", func(p portNumbers) bool {
		return p.Tx.Frames == uint64(count)+1 && p.Tx.Bytes == uint64(want.Len()) && p.Tx.Queued == 0
	})
}

func firstDifference(got, want []byte) []byte {
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			return got[i:min(len(got), i+80)]
		}
	}
	return nil
}
