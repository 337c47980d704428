package ring

import (
	"errors"
	"testing"
	"time"
)

// receive has bytes come into the ring.
func receive(t *testing.T, x *Receiver, p pipe, text string) {
	t.Helper()
	if _, err := p.write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	x.Piped(len(text))
	if err := x.Take(p.read); err != nil {
		t.Fatal(err)
	}
}

// mark is that of now, with so many bytes in a device.
func mark(t *testing.T, r *Ring, p pipe, unread int) Mark {
	t.Helper()
	m, err := r.Mark(func() (int, error) { return p.waiting(t), nil }, func() (int, error) { return unread, nil })
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What waits in the device and the pipe is before a mark, wherever the reader stands and dies.
func TestMark(t *testing.T) {
	r, p := newRing(t, Sizes{Received: 100, Sent: 100}), newPipe(t)
	x := receiver(t, r, 0)
	expect := func(unread int, want uint64) {
		t.Helper()
		if m := mark(t, r, p, unread); m.offset != want {
			t.Errorf("the mark is at %d, want %d", m.offset, want)
		}
	}
	receive(t, x, p, "12345")
	expect(0, 5)
	expect(3, 8)
	if _, err := p.write([]byte("678")); err != nil {
		t.Fatal(err)
	}
	expect(0, 8)
	x.Piped(3)
	expect(2, 10)
	dies(func() {
		_ = x.Take(func(b []byte) (int, error) {
			expect(2, 10)
			if _, err := p.read(b[:2]); err != nil {
				t.Fatal(err)
			}
			expect(2, 10)
			panic(killed{})
		})
	})
	expect(2, 10)
	x = receiver(t, r, p.waiting(t))
	expect(2, 10)
	// A reader that moves bytes in the middle of it.
	looks := 0
	m, err := r.Mark(func() (int, error) { return p.waiting(t), nil }, func() (int, error) {
		if looks++; looks == 1 {
			if err := x.Take(p.read); err != nil {
				t.Fatal(err)
			}
		}
		return 0, nil
	})
	if err != nil || m.offset != 8 || looks != 2 {
		t.Errorf("the mark is at %d after %d looks, want 8 after 2; %v", m.offset, looks, err)
	}
}

func TestListener(t *testing.T) {
	r, p := newRing(t, Sizes{Received: 100, Sent: 100}), newPipe(t)
	x := receiver(t, r, 0)
	expect := func(l *Listener, want string) {
		t.Helper()
		f, ok, err := l.Next()
		if err != nil || !ok && want != "" || ok && string(f.Wire) != want {
			t.Fatalf("the next frame is %q, %t, %v, want %q", f.Wire, ok, err, want)
		}
	}
	early := func(l *Listener, want string) {
		t.Helper()
		if f, ok, err := l.Next(); err != nil || !ok || !f.Early || string(f.Wire) != want {
			t.Fatalf("the next frame is %+v, %t, %v, want one that began before, with %q since", f, ok, err, want)
		}
	}
	rest := func(l *Listener, want string) {
		t.Helper()
		got, ok, err := l.Rest()
		if err != nil || !ok || string(got) != want {
			t.Fatalf("the rest is %q, %t, %v, want %q", got, ok, err, want)
		}
	}
	receive(t, x, p, "old\nhalf")
	x.Add(0, 4, time.Now(), 0)
	l := r.Listen(mark(t, r, p, 0))
	early(l, "")
	expect(l, "")
	rest(l, "")
	receive(t, x, p, " of\n--new\nmo")
	rest(l, " of\n--new\nmo") // what has come since
	x.Add(0, 8, time.Now(), 0)
	early(l, " of\n")
	x.Add(2, 4, time.Now(), 3)
	if f, ok, err := l.Next(); err != nil || !ok || string(f.Wire) != "new\n" || f.Flags != 3 || f.Early {
		t.Fatalf("the next frame is %+v, %t, %v", f, ok, err)
	}
	expect(l, "")
	rest(l, "mo")
	receive(t, x, p, "re\n")
	x.Add(0, 5, time.Now(), 0)
	if _, ok, err := l.Rest(); ok || err != nil {
		t.Errorf("a rest of which a frame was made is taken for one, %v", err)
	}
	expect(l, "more\n")
	rest(l, "")
}

// A listener that does not keep up is told so.
func TestListenerIsOverrun(t *testing.T) {
	for _, size := range []int{1, 4000} { // the index, or the ring
		r, p := newRing(t, Sizes{Received: 100, Sent: 100}), newPipe(t)
		x := receiver(t, r, 0)
		l := r.Listen(mark(t, r, p, 0))
		text := string(make([]byte, size))
		for total := 0; total < max(size*(indexLen+1), len(r.rx)/2+2*size); total += size {
			receive(t, x, p, text)
			f := x.Add(0, size, time.Now(), 0)
			x.Stored(f.Number + 1)
			if total == 0 {
				if _, ok, err := l.Next(); !ok || err != nil {
					t.Fatalf("the first frame: %t, %v", ok, err)
				}
			}
			if size > 1 && total > 2*len(r.rx) {
				break
			}
		}
		if _, _, err := l.Next(); !errors.Is(err, ErrOverrun) {
			t.Errorf("frames of %d bytes: %v, want %v", size, err, ErrOverrun)
		}
	}
}

func TestAnnounce(t *testing.T) {
	r, p := newRing(t, Sizes{Received: 100, Sent: 100}), newPipe(t)
	l := r.Listen(mark(t, r, p, 0))
	for _, c := range []struct {
		wanted, news Wanted
		wakes        bool
	}{
		{WantNothing, WantBytes, false}, {WantNothing, WantFrames, false},
		{WantFrames, WantBytes, false}, {WantFrames, WantFrames, true},
		{WantBytes, WantBytes, true}, {WantBytes, WantFrames, true},
	} {
		l.Want(c.wanted)
		if got := r.Announce(c.news); got != c.wakes {
			t.Errorf("wanted is %d, and %d has come: wakes %t", c.wanted, c.news, got)
		}
		if c.wakes && r.Announce(c.news) {
			t.Error("it was woken twice")
		}
	}
	l.Want(WantBytes)
	l.Close()
	if r.Announce(WantFrames) {
		t.Error("a listener that is closed is woken")
	}
}
