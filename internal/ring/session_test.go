package ring

import (
	"testing"
	"time"
)

func TestSessions(t *testing.T) {
	r, p := newRing(t, Sizes{Received: 100, Sent: 100}), newPipe(t)
	x := receiver(t, r, 0)
	if _, err := p.write([]byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	x.Piped(10)
	if err := x.Take(p.read); err != nil {
		t.Fatal(err)
	}
	x.Add(0, 10, time.Now(), 0)
	r.CountLostHistory(3)
	r.CountLostHistory(-1)
	r.CountLostForward()
	r.NewSession()
	x = receiver(t, r, 0)
	if _, any := x.Last(); any || len(x.Data()) != 0 || x.Offset() != 0 || r.Pending() {
		t.Error("a new session has bytes of the one before")
	}
	if want := (RxCounters{Bytes: 10, Frames: 1, LostHistory: 2, LostForward: 1}); r.Rx() != want {
		t.Errorf("counters are %+v, want %+v", r.Rx(), want)
	}
}

func TestNote(t *testing.T) {
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	if len(r.Note()) != 0 {
		t.Errorf("a new ring has the note %q", r.Note())
	}
	if err := r.SetNote([]byte("session 1")); err != nil || string(r.Note()) != "session 1" {
		t.Errorf("the note is %q, error %v", r.Note(), err)
	}
	if err := r.SetNote(make([]byte, noteSize+1)); err == nil {
		t.Error("a note that does not fit was taken")
	}
}
