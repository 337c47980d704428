package ring

import (
	"strings"
	"testing"
	"time"
)

func TestAwaited(t *testing.T) {
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	s := r.Sender(0)
	if a, ok := s.Awaited(); ok {
		t.Errorf("an answer is awaited at first: %+v", a)
	}
	want := Awaited{Mark: Mark{12, 3}, Timeout: time.Minute, Gap: time.Second, Frames: 4, Until: strings.Repeat("ü", MaxUntil/2)}
	s.Await(want)
	s.AwaitFrom(Now())
	a, ok := r.Sender(0).Awaited() // a successor's
	if left := a.Deadline - Now(); left <= 0 || left > want.Timeout {
		t.Errorf("it is awaited for %s still", left)
	}
	a.Deadline = 0
	if !ok || a != want {
		t.Errorf("%+v, %t is awaited, want %+v", a, ok, want)
	}
	s.Await(Awaited{Timeout: time.Minute})
	if a, _ := s.Awaited(); a != (Awaited{Timeout: time.Minute}) {
		t.Errorf("%+v is awaited, with something of before", a)
	}
	s.AwaitNothing()
	if a, ok := s.Awaited(); ok {
		t.Errorf("%+v is awaited still", a)
	}
	s.Await(want)
	r.NewSession()
	if a, ok := s.Awaited(); ok {
		t.Errorf("%+v is awaited of another session", a)
	}
}
