package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Guards what senders to a device that takes nothing are told, on a port without a queue: a frame that is refused is never
// written, and one that could not be taken back is.
func TestDirectFramesToAStuckDevice(t *testing.T) {
	g := startGateway(t, "queue: none", "framing: {type: raw, max_bytes: 1000000}")
	nc := g.connect(t, "send")
	send := func(frame string, told func(code, stderr string)) (wait func()) {
		cmd := g.supervisor("send", "gps", "-")
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = strings.NewReader(frame), &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return func() {
			_ = cmd.Wait() // the exit code says all
			told(cmd.ProcessState.String(), errs.String())
		}
	}
	big := strings.Repeat("x", 300_000)
	first := send(big, func(code, stderr string) {
		if code != "exit status 1" || !strings.Contains(stderr, "port gps: the device has not taken the whole frame within 2s") {
			t.Errorf("the frame in hand: %s, %s", code, stderr)
		}
	})
	g.await(t, "some of it is written", func(p portNumbers) bool { return p.Tx.Bytes > 0 })
	// Nobody can be told what became of these.
	for range 2 {
		if err := nc.Publish("serial.gps.tx", []byte("unasked")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var waits []func()
	for range 3 {
		waits = append(waits, send("refused", func(code, stderr string) {
			if code != "exit status 1" || !strings.Contains(stderr, "port gps is busy: it was not this frame's turn within 2s; nothing of it was written") {
				t.Errorf("a frame behind it: %s, %s", code, stderr)
			}
		}))
	}
	first()
	for _, wait := range waits {
		wait()
	}
	var heard bytes.Buffer
	takeAll(t, g, &heard, len(big)+2*len("unasked"), 1)
	if want := big + "unaskedunasked"; heard.String() != want {
		t.Errorf("the device has got %d bytes, want %d: those that were not refused", heard.Len(), len(want))
	}
	m, err := nc.RequestMsg(&nats.Msg{Subject: "serial.gps.tx", Data: []byte("again")}, patience)
	if err != nil || m.Header.Get("Nats-Service-Error") != "" {
		t.Errorf("afterwards: %v, %v", m, err)
	}
}

// Who waits for a frame to be written does so for as long as the device takes, also without a queue, or until it is gone.
func TestSendWaitsWithoutQueue(t *testing.T) {
	g := startPluggable(t, "queue: none", "framing: {type: raw, max_bytes: 1000000}")
	answers, err := g.connect(t, "send").SubscribeSync("_INBOX_send.>")
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 100_000)
	send := func() (wait func() string) {
		cmd := g.supervisor("send", "gps", "-", "--wait")
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = strings.NewReader(big), &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for code := ""; code != "504"; {
			m, err := answers.NextMsg(patience)
			if err != nil {
				t.Fatalf("the sender is not told that its frame takes its time: %v\n%s", err, errs.String())
			}
			code = m.Header.Get("Nats-Service-Error-Code")
		}
		return func() string {
			_ = cmd.Wait() // the exit code says all
			return cmd.ProcessState.String() + ": " + errs.String()
		}
	}
	wait := send()
	takeAll(t, g.gateway, new(bytes.Buffer), len(big), 1)
	if got := wait(); got != "exit status 0: " {
		t.Errorf("send --wait: %s", got)
	}
	wait = send()
	g.unplug(t)
	if got := wait(); !strings.HasPrefix(got, "exit status 1") || !strings.Contains(got, "port gps: the port was closed before the device took the whole frame") {
		t.Errorf("send --wait to a device that is unplugged: %s", got)
	}
}

// Guards that each sender to a port without a queue is answered, while its writer ends.
func TestDirectFramesWhenThePortCloses(t *testing.T) {
	g := startPluggable(t, "queue: none")
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 4 {
		nc := g.connect(t, "send")
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := nc.Request("serial.gps.tx", []byte("x"), patience); errors.Is(err, nats.ErrNoResponders) {
					pause()
				} else if err != nil {
					t.Errorf("a sender was not answered: %v", err)
					return
				}
			}
		})
	}
	frames := uint64(0)
	for range 10 {
		before := frames
		g.await(t, "frames are written", func(p portNumbers) bool { frames = p.Tx.Frames; return frames > before })
		g.unplug(t)
		g.awaitState(t, ipc.Missing)
		g.plugIn(t)
		g.awaitState(t, ipc.Open)
	}
}
