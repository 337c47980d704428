package publish

import (
	"reflect"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestWindowSettlesInOrder(t *testing.T) {
	w := new(window)
	for mark := range uint64(4) {
		w.push(slot{mark: mark, size: 10})
	}
	for _, step := range []struct {
		settle uint64
		mark   uint64
		moved  bool
	}{
		{2, 0, false}, // the oldest is not done
		{0, 0, true},
		{0, 0, false}, // acknowledged twice
		{1, 2, true},  // and with it 2, which was done before
		{9, 0, false}, // never sent
		{3, 3, true},
	} {
		mark, moved := w.settle(step.settle)
		if mark != step.mark || moved != step.moved {
			t.Errorf("settle(%d) = %d, %t, want %d, %t", step.settle, mark, moved, step.mark, step.moved)
		}
	}
	if !w.empty() || w.bytes != 0 {
		t.Errorf("the window holds %d messages and %d bytes after all were settled", w.tail-w.head, w.bytes)
	}
}

func TestWindowIsBounded(t *testing.T) {
	w := &window{limit: windowMessages}
	if w.full(windowBytes + 1) {
		t.Error("an empty window refuses a long message, which would then never be sent")
	}
	w.push(slot{size: windowBytes - 1})
	if w.full(1) || !w.full(2) {
		t.Errorf("with %d bytes under way: full(1) = %t, full(2) = %t, want false, true", w.bytes, w.full(1), w.full(2))
	}
	for !w.full(0) {
		w.push(slot{})
	}
	if n := w.tail - w.head; n != windowMessages {
		t.Errorf("the window is full with %d messages, want %d", n, windowMessages)
	}
	w.settle(0)
	if w.full(windowBytes) {
		t.Error("the window is full after its oldest message was settled")
	}
}

// What is kept of a message is all that a stream gets of it.
func TestKeptMessageIsTheSame(t *testing.T) {
	for _, m := range []*nats.Msg{
		{Subject: "s"},
		{Subject: "s", Data: []byte("a\r\nb: c\r\n")},
		{Subject: "s", Data: []byte("x"), Header: nats.Header{"Serial-Time": {"2026-11-23T14:03:07Z"}, "Nats-Msg-Id": {"gps.1:2.3"}, "Empty": {""}, "Two": {"a: b", "c"}}},
	} {
		if got := keep(m).message(); !reflect.DeepEqual(got, m) {
			t.Errorf("%v was kept as %v", m, got)
		}
	}
	flat := keep(&nats.Msg{Header: nats.Header{"Reason": {"a\r\nForged: b"}}}).message()
	if want := (nats.Header{"Reason": {"a  Forged: b"}}); !reflect.DeepEqual(flat.Header, want) {
		t.Errorf("headers %v, want %v", flat.Header, want)
	}
}
