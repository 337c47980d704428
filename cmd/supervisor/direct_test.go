package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
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
	if err := nc.Publish("serial.gps.tx", []byte("unasked")); err != nil {
		t.Fatal(err)
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
	takeAll(t, g, &heard, len(big)+len("unasked"), 1)
	if want := big + "unasked"; heard.String() != want {
		t.Errorf("the device has got %d bytes, want %d: those that were not refused", heard.Len(), len(want))
	}
	m, err := nc.RequestMsg(&nats.Msg{Subject: "serial.gps.tx", Data: []byte("again")}, patience)
	if err != nil || m.Header.Get("Nats-Service-Error") != "" {
		t.Errorf("afterwards: %v, %v", m, err)
	}
}
