package ring

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func setTargets(t *testing.T, r *Ring, ports ...string) (dropped uint64) {
	t.Helper()
	dropped, err := r.SetTargets(ports, false)
	if err != nil {
		t.Fatal(err)
	}
	return dropped
}

func receiver(t *testing.T, r *Ring, inPipe int, targets ...string) *Receiver {
	t.Helper()
	x, err := r.Receiver(targets, inPipe)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// left is what a reader finds of the session for each target: the numbers of frames.
func left(t *testing.T, r *Ring, targets ...string) string {
	t.Helper()
	x := receiver(t, r, 0, targets...)
	x.Stored(r.h.reader.framed.Load())
	var list []string
	for i, name := range targets {
		var numbers []string
		for f := range x.Unsettled {
			if !x.IsForwarded(i, f.Number) {
				numbers = append(numbers, fmt.Sprint(f.Number))
			}
		}
		list = append(list, name+":"+strings.Join(numbers, ","))
	}
	return strings.Join(list, " ")
}

// forwarding is a ring with five frames, of which a has got four and b two.
func forwarding(t *testing.T) *Ring {
	r, p := newRing(t, Sizes{Received: 100, Sent: 100}), newPipe(t)
	setTargets(t, r, "a", "b")
	r.NewSession()
	x := receiver(t, r, 0, "a", "b")
	if _, err := p.write(make([]byte, 50)); err != nil {
		t.Fatal(err)
	}
	x.Piped(50)
	if err := x.Take(p.read); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		x.Add(0, 10, time.Now(), 0)
	}
	x.Forwarded(0, 4)
	x.Forwarded(1, 2)
	return r
}

// Guards that a port which is added to forward_to got what was received long before, and that marks which stood in the config's
// order went to whom they were not of.
func TestTargetsChange(t *testing.T) {
	for _, c := range []struct {
		change  []string
		dropped uint64
		left    string
	}{
		{[]string{"a", "b"}, 0, "a:4 b:2,3,4"},
		{[]string{"b", "a"}, 0, "b:2,3,4 a:4"},
		{[]string{"b"}, 1, "b:2,3,4"},
		{[]string{"e"}, 4, "e:"},
		{[]string{"e", "b", "a", "f"}, 0, "e: b:2,3,4 a:4 f:"},
		{nil, 4, ""},
	} {
		r := forwarding(t)
		if dropped := setTargets(t, r, c.change...); dropped != c.dropped || r.Rx().LostForward != c.dropped {
			t.Errorf("%v: %d frames were dropped, %d counted, want %d", c.change, dropped, r.Rx().LostForward, c.dropped)
		}
		if got := left(t, r, c.change...); got != c.left {
			t.Errorf("%v: left is %q, want %q", c.change, got, c.left)
		}
		if want := strings.ContainsAny(c.left, "0123456789"); r.Pending() != want {
			t.Errorf("%v: pending is %t, want %t", c.change, r.Pending(), want)
		}
		// Who was away gets nothing of the session in which he was.
		setTargets(t, r, "a", "b")
		gone := []string{}
		for i, name := range []string{"a", "b"} {
			if !slices.Contains(c.change, name) {
				gone = append(gone, strings.Fields("a: b:")[i])
			}
		}
		for _, want := range gone {
			if got := left(t, r, "a", "b") + " "; !strings.Contains(got, want+" ") {
				t.Errorf("%v: left is %q for those that came back, want %q in it", c.change, got, want)
			}
		}
		r.NewSession()
		if got := left(t, r, "a", "b"); got != "a: b:" || r.h.reader.forwarded[r.h.targets.find(nameWord("b"))].Load() != 0 {
			t.Errorf("%v: a new session begins with %q", c.change, got)
		}
	}
}

// A memory of a version that did not name its targets has their marks in the config's order.
func TestTargetsOfAnEarlierVersion(t *testing.T) {
	for same, want := range map[bool]string{true: "a:4 b:2,3,4", false: "a: b:"} {
		r := forwarding(t)
		r.h.targets = targetWords{}
		if _, err := r.SetTargets([]string{"a", "b"}, same); err != nil {
			t.Fatal(err)
		}
		if got := left(t, r, "a", "b"); got != want {
			t.Errorf("same %t: left is %q, want %q", same, got, want)
		}
	}
}

func TestTargetsWithoutPlace(t *testing.T) {
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	var many []string
	for n := range MaxTargets {
		many = append(many, fmt.Sprint("p", n))
	}
	setTargets(t, r, many...)
	for n := range many {
		many[n] = fmt.Sprint("q", n) // all are others
	}
	setTargets(t, r, many...)
	if _, err := r.SetTargets(append(many, "one more"), false); err == nil {
		t.Error("there is room for more than there is")
	}
	if _, err := r.Receiver([]string{"p0"}, 0); err == nil {
		t.Error("a reader has a target that was not named")
	}
}
