package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/worker"
)

func TestSend(t *testing.T) {
	gps, raw := plug(t, nil), plug(t, nil)
	g := start(t, fmt.Sprintf(`ports:
  gps: {device: %s}
  raw: {device: %s, queue: none}
  gone: {device: /dev/does-not-exist, queue: {storage: memory, max_messages: 2}}
  away: {device: /dev/is-not-there, queue: none}
`, gps.Path(), raw.Path()))
	w := connect(t, g.env(t, "send"))
	ctx := soon(t)
	first, err := w.Send(ctx, "gps", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if second, err := w.Send(ctx, "gps", []byte("two"), worker.TTL(5*time.Second)); err != nil || second != first+1 {
		t.Errorf("the second frame is %d behind %d, %v", second, first, err)
	}
	gps.hears(t, "one\ntwo\n")
	if _, err := w.Send(ctx, "raw", []byte("now")); err != nil {
		t.Error(err)
	}
	raw.hears(t, "now\n")

	expect := func(what string, err, want error, text string) {
		t.Helper()
		if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%s: %v, want %v with %q", what, err, want, text)
		}
		for _, other := range []error{worker.ErrQueueFull, worker.ErrUnknownPort, worker.ErrNotOpen, worker.ErrNotAllowed, worker.ErrLeased, worker.ErrTimeout, worker.ErrUncertain} {
			if other != want && errors.Is(err, other) {
				t.Errorf("%s: %v is %v too", what, err, other)
			}
		}
	}
	send := func(w *worker.Worker, port string, options ...worker.SendOption) error {
		_, err := w.Send(ctx, port, []byte("x"), options...)
		return err
	}
	expect("a port that does not exist", send(w, "nope"), worker.ErrUnknownPort, "gps")
	expect("no queue and no device", send(w, "away"), worker.ErrNotOpen, "missing")
	for range 2 {
		if err := send(w, "gone"); err != nil {
			t.Error(err)
		}
	}
	expect("a third frame", send(w, "gone"), worker.ErrQueueFull, "port gone")
	if err := send(w, "gps", worker.TTL(time.Millisecond)); err == nil || !strings.Contains(err.Error(), "whole seconds") {
		t.Errorf("a TTL of 1ms: %v", err)
	}
	lease, err := w.Lease(ctx, "raw", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	expect("a port that is leased", send(w, "raw"), worker.ErrLeased, "port raw")
	if err := send(w, "raw", worker.LeaseToken(lease.Token())); err != nil {
		t.Error(err)
	}
	tap := connect(t, g.env(t, "tap"))
	begun := time.Now()
	expect("role tap", send(tap, "gps"), worker.ErrNotAllowed, "serial.gps.tx")
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("that it is not allowed is known after %s", took)
	}
	_, err = tap.Request(ctx, "gps", []byte("x"))
	expect("role tap asks", err, worker.ErrNotAllowed, "serial.gps.request")
	_, err = tap.Lease(ctx, "gps", time.Minute)
	expect("role tap wants a lease", err, worker.ErrNotAllowed, "serial.gps.lease")
}

// A frame whose answer was lost with the connection is queued once.
func TestSendAgain(t *testing.T) {
	gps := plug(t, nil)
	g := start(t, "ports: {gps: {device: "+gps.Path()+"}}")
	p, env := between(t, g.env(t, "send"))
	w := connect(t, env)
	send := func(text string) (uint64, error) {
		p.set(true, false)
		ended := make(chan struct{})
		defer func() { <-ended }()
		go func() {
			defer close(ended)
			gps.hears(t, text)
			p.set(false, true)
			p.cut()
			p.set(false, false)
		}()
		return w.Send(soon(t), "gps", []byte(text))
	}
	if _, err := send("<zero>"); !errors.Is(err, worker.ErrUncertain) {
		t.Errorf("a port that may have no queue: %v, want ErrUncertain", err)
	}
	first, err := w.Send(soon(t), "gps", []byte("<one>"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := send("<two>")
	if err != nil || second != first+1 {
		t.Errorf("the frame is %d behind %d, %v", second, first, err)
	}
	if third, err := w.Send(soon(t), "gps", []byte("<three>")); err != nil || third != second+1 {
		t.Errorf("the frame after it is %d, %v", third, err)
	}
	gps.hears(t, "<one>\n<two>\n<three>\n")

	// While there is no connection nothing is sent.
	p.set(false, true)
	p.cut()
	waitUntil(t, "the connection is gone", func() bool { return !w.Conn().IsConnected() })
	ctx, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	if _, err := w.Send(ctx, "gps", []byte("<never>")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, worker.ErrUncertain) {
		t.Errorf("without a connection: %v", err)
	}
	p.set(false, false)
	if _, err := w.Send(soon(t), "gps", []byte("<four>")); err != nil {
		t.Error(err)
	}
	gps.hears(t, "<three>\n<four>\n")
}

func TestRequest(t *testing.T) {
	psu := plug(t, func(line string) string {
		switch line {
		case "*IDN?":
			return "PSU-3005\n"
		case "LIST":
			return "a\nb\nOK\n"
		case "HALF":
			return "half\n"
		}
		return ""
	})
	g := start(t, "ports: {psu: {device: "+psu.Path()+"}, away: {device: /dev/does-not-exist}}")
	w := connect(t, g.env(t, "send"))
	ctx := soon(t)
	for _, c := range []struct {
		ask, want string
		options   []worker.RequestOption
	}{
		{"*IDN?", "PSU-3005", nil},
		{"LIST", "a\nb", []worker.RequestOption{worker.Frames(2)}},
		{"LIST", "a\nb\nOK", []worker.RequestOption{worker.Until("^OK$"), worker.Settle(50 * time.Millisecond)}},
		{"LIST", "a\nb\nOK", []worker.RequestOption{worker.Gap(200 * time.Millisecond), worker.Timeout(5 * time.Second)}},
		{"quiet", "", []worker.RequestOption{worker.Frames(0)}},
	} {
		if got, err := w.Request(ctx, "psu", []byte(c.ask), c.options...); err != nil || string(got) != c.want {
			t.Errorf("%s is answered %q, %v; want %q", c.ask, got, err, c.want)
		}
	}
	_, err := w.Request(ctx, "psu", []byte("HALF"), worker.Frames(2), worker.Timeout(200*time.Millisecond))
	var refusal *worker.Error
	if !errors.Is(err, worker.ErrTimeout) || !errors.As(err, &refusal) || refusal.Code != 504 || string(refusal.Answer) != "half" {
		t.Errorf("half an answer: %v, %+v", err, refusal)
	}
	if _, err := w.Request(ctx, "psu", nil, worker.Until("(")); !errors.As(err, &refusal) || refusal.Code != 400 {
		t.Errorf("a broken expression: %v", err)
	}
	if _, err := w.Request(ctx, "away", nil); !errors.Is(err, worker.ErrNotOpen) {
		t.Errorf("a device that is away: %v", err)
	}
	if _, err := w.Request(ctx, "nope", nil); !errors.Is(err, worker.ErrUnknownPort) {
		t.Errorf("a port that does not exist: %v", err)
	}
}

func TestLease(t *testing.T) {
	psu := plug(t, func(line string) string { return line + "\n" })
	g := start(t, "ports: {psu: {device: "+psu.Path()+"}}")
	w, other := connect(t, g.env(t, "send")), connect(t, g.env(t, "send"))
	ctx := soon(t)
	// It is renewed: it lasts for longer than its time.
	lease, err := w.Lease(ctx, "psu", 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Lease(ctx, "psu", time.Minute); !errors.Is(err, worker.ErrLeased) || !strings.Contains(err.Error(), "test-send") {
		t.Errorf("a second lease: %v", err)
	}
	for begun := time.Now(); time.Since(begun) < time.Second; {
		if _, err := other.Request(ctx, "psu", []byte("theirs")); !errors.Is(err, worker.ErrLeased) {
			t.Fatalf("after %s somebody else asks: %v", time.Since(begun), err)
		}
	}
	if answer, err := lease.Request(ctx, []byte("ours")); err != nil || string(answer) != "ours" {
		t.Errorf("the holder is answered %q, %v", answer, err)
	}
	if _, err := lease.Send(ctx, []byte("ours too")); err != nil {
		t.Error(err)
	}
	psu.hears(t, "ours too\n")
	if err := lease.Close(); err != nil {
		t.Error(err)
	}
	if _, err := other.Request(ctx, "psu", []byte("theirs")); err != nil {
		t.Errorf("after it was released: %v", err)
	}
	// The connection's end ends it.
	if lease, err = w.Lease(ctx, "psu", time.Hour); err != nil {
		t.Fatal(err)
	}
	w.Close()
	select {
	case <-lease.Done():
	case <-ctx.Done():
		t.Error("after the worker was closed it still has the lease")
	}
	if _, err := other.Lease(ctx, "psu", time.Minute); err != nil {
		t.Error(err)
	}
}
