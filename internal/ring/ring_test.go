package ring

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newRing(t *testing.T, sizes Sizes) *Ring {
	t.Helper()
	r, f, err := New("test", sizes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return r
}

// pipe is a real one, which counts its bytes as the kernel does.
type pipe struct{ r, w int }

func newPipe(t *testing.T) pipe {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) })
	return pipe{fds[0], fds[1]}
}

func (p pipe) read(b []byte) (int, error)  { return unix.Read(p.r, b) }
func (p pipe) write(b []byte) (int, error) { return unix.Write(p.w, b) }

func (p pipe) waiting(t *testing.T) int {
	t.Helper()
	n, err := unix.IoctlGetInt(p.r, unix.TIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// killed unwinds a call as a kill would end it.
type killed struct{}

// dies makes a call that ends with a kill or by itself.
func dies(call func()) {
	defer func() {
		if r := recover(); r != nil && r != (killed{}) {
			panic(r)
		}
	}()
	call()
}

// A reader that is killed before or behind any read from the pipe, thousands of times, loses and doubles nothing.
func TestReceiverIsKilled(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	r, p := newRing(t, Sizes{Received: 1000, Sent: 100}), newPipe(t)
	var sent, got []byte
	x := receiver(t, r, 0)
	for round := range 20000 {
		if x.InPipe() == 0 {
			chunk := make([]byte, 1+random.IntN(4000))
			for i := range chunk {
				chunk[i] = byte(random.Uint32())
			}
			if _, err := p.write(chunk); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, chunk...)
			x.Piped(len(chunk))
		}
		when := random.IntN(8)
		dies(func() {
			if err := x.Take(func(room []byte) (int, error) {
				if when == 0 {
					panic(killed{})
				}
				n, err := p.read(room)
				if when == 1 {
					panic(killed{})
				}
				return n, err
			}); err != nil {
				t.Fatal(err)
			}
		})
		if when < 2 {
			x = receiver(t, r, p.waiting(t))
		}
		for len(x.Data()) >= 900 && x.CanAdd() && random.IntN(4) > 0 {
			f := x.Add(3, 1+random.IntN(890), time.Unix(0, int64(round)), 5)
			if again, ok := x.Last(); !ok || !bytes.Equal(again.Wire, f.Wire) || again.Offset != f.Offset {
				t.Fatalf("frame %+v is %+v when it is asked for", f, again)
			}
		}
		if random.IntN(20) == 0 || !x.CanAdd() {
			for f := range x.Unsettled {
				got = append(got, sent[len(got):f.Offset]...) // what is skipped
				got = append(got, f.Wire...)
				x.Stored(f.Number + 1)
			}
		}
	}
	for f := range x.Unsettled {
		got = append(got, sent[len(got):f.Offset]...)
		got = append(got, f.Wire...)
	}
	got = append(got, x.Data()...)
	if want := sent[:len(sent)-p.waiting(t)]; !bytes.Equal(got, want) {
		t.Errorf("%d bytes came out that are not the %d that went in", len(got), len(want))
	}
	if n := r.Rx().Bytes; n != uint64(len(got)) {
		t.Errorf("%d bytes are counted, want %d", n, len(got))
	}
}

// A full ring takes no more than fits, and all of it again when frames are settled.
func TestReceiverIsFull(t *testing.T) {
	r, p := newRing(t, Sizes{Received: 100, Sent: 100}), newPipe(t)
	setTargets(t, r, "a")
	r.NewSession()
	x := receiver(t, r, 0, "a")
	room := len(x.Free())
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 256)
	for total := 0; total < room; total += len(chunk) {
		if _, err := p.write(chunk); err != nil {
			t.Fatal(err)
		}
		x.Piped(len(chunk))
		if err := x.Take(p.read); err != nil {
			t.Fatal(err)
		}
		x.Add(0, len(chunk), time.Now(), 0)
	}
	if n := len(x.Free()); n != 0 {
		t.Fatalf("there is room for %d bytes in a full ring", n)
	}
	x.Stored(3)
	if n := len(x.Free()); n != 0 {
		t.Fatalf("there is room for %d bytes while a frame is not forwarded", n)
	}
	x.Forwarded(0, 2)
	if n := len(x.Free()); n != 2*len(chunk) {
		t.Fatalf("there is room for %d bytes, want two frames", n)
	}
	if !r.Pending() {
		t.Error("frames that are not settled must count as pending")
	}
	if x.IsStored(3) || !x.IsStored(2) || x.IsForwarded(0, 2) || !x.IsForwarded(0, 1) {
		t.Error("frames count as settled that are not, or the other way round")
	}
}

func TestStoredThrough(t *testing.T) {
	r, p := newRing(t, Sizes{Received: 100, Sent: 100}), newPipe(t)
	x := receiver(t, r, 0)
	if _, err := p.write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	x.Piped(100)
	if err := x.Take(p.read); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		x.Add(0, 10, time.Now(), 0)
	}
	x.StoredThrough(17) // no frame begins there
	x.StoredThrough(20)
	x.StoredThrough(10) // older news
	var left []uint64
	for f := range x.Unsettled {
		left = append(left, f.Offset)
	}
	if !slices.Equal(left, []uint64{30, 40}) {
		t.Errorf("frames at %d are left, want 30 and 40", left)
	}
}

// A writer that is killed before or behind any write to the pipe, with any number of bytes gone from it, sends each byte once.
func TestSenderIsKilled(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	r, p := newRing(t, Sizes{Received: 100, Sent: 3000}), newPipe(t)
	var want, device []byte
	leave := func(most int) { // bytes go to the device
		b := make([]byte, random.IntN(most+1))
		if n, err := p.read(b); err == nil {
			device = append(device, b[:n]...)
		}
	}
	s := r.Sender(0)
	for seq := uint64(1); seq < 3000; seq++ {
		wire := make([]byte, random.IntN(3000))
		for i := range wire {
			wire[i] = byte(random.Uint32())
		}
		want = append(want, wire...)
		if !s.Reserve() {
			t.Fatalf("frame %d: there is no room for a note", seq)
		}
		s.Begin(Sending{Queued, seq, wire})
		for {
			f, ok := s.InHand()
			if !ok || !bytes.Equal(f.Wire, wire) || f.Seq != seq {
				t.Fatalf("frame %d in hand is %d with %d bytes, want %d bytes", seq, f.Seq, len(f.Wire), len(wire))
			}
			for p.waiting(t) > 0 {
				leave(700)
				if random.IntN(10) == 0 {
					s = r.Sender(p.waiting(t))
				}
			}
			rest := s.Rest(1000)
			if len(rest) == 0 {
				break
			}
			when := random.IntN(5)
			dies(func() {
				if _, err := s.Feed(rest, func(b []byte) (int, error) {
					if when == 0 {
						panic(killed{})
					}
					n, err := p.write(b)
					if when == 1 {
						panic(killed{})
					}
					return n, err
				}); err != nil {
					t.Fatal(err)
				}
			})
			if when < 2 {
				s = r.Sender(p.waiting(t))
			}
		}
		s.Complete()
		if _, ok := s.InHand(); ok || !s.Done(seq) || s.Done(seq+1) {
			t.Fatalf("frame %d: it is not noted that it alone is done", seq)
		}
		s.Settled(seq)
	}
	if !bytes.Equal(device, want) {
		t.Errorf("the device has got %d bytes that are not the %d that were sent", len(device), len(want))
	}
	if got := r.Tx(); got.Bytes != uint64(len(want)) || got.Frames != 2999 {
		t.Errorf("counted are %d bytes and %d frames, want %d and 2999", got.Bytes, got.Frames, len(want))
	}
}

func TestAdopt(t *testing.T) {
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	s := r.Sender(0)
	for i, seq := range []uint64{7, 8} {
		if !s.Reserve() {
			t.Fatal("there is no room for a note")
		}
		s.Begin(Sending{Queued, seq, []byte("x")})
		if i == 0 {
			s.Complete()
		}
	}
	r.Adopt(99, []uint64{3, 4}, nil)
	s = r.Sender(0)
	if s.Done(7) || !s.Done(3) || !s.Done(4) || r.Source() != 99 {
		t.Error("of another queue nothing is known but what the history tells")
	}
	if _, ok := s.InHand(); ok {
		t.Error("a frame of the queue before is still in hand")
	}
}

// What was written of a queue is known when its frames have moved to another one, and the frame in hand goes on.
func TestAdoptWhatMoved(t *testing.T) {
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	s := r.Sender(0)
	for _, seq := range []uint64{6, 7, 8} {
		if !s.Reserve() {
			t.Fatal("there is no room for a note")
		}
		s.Begin(Sending{Queued, seq, []byte("x")})
		if seq < 8 {
			s.Complete()
		}
	}
	r.Adopt(99, []uint64{3}, map[uint64]uint64{7: 21, 8: 22, 9: 23})
	s = r.Sender(0)
	if f, ok := s.InHand(); !ok || f.Seq != 22 {
		t.Errorf("in hand is %d, %t; want 22, which was 8", f.Seq, ok)
	}
	s.Complete()
	for seq, want := range map[uint64]bool{3: true, 21: true, 22: true, 23: false, 6: false, 7: false, 8: false} {
		if s.Done(seq) != want {
			t.Errorf("frame %d: written %t, want %t", seq, !want, want)
		}
	}
}

// What another version has made is refused in words.
func TestOpenRefuses(t *testing.T) {
	_, good, err := New("test", Sizes{Received: 100, Sent: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = good.Close() }()
	whole := make([]byte, rxStart)
	if _, err := good.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"an empty file": nil, "another magic": append([]byte("SVRING99"), whole[8:]...), "too short for its sizes": whole,
		"text": []byte(strings.Repeat("hello ", 2000)),
	} {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(int(f.Fd())); err == nil {
			t.Errorf("%s was taken for shared memory", name)
		}
		_ = f.Close()
	}
	if err := unix.Ftruncate(int(good.Fd()), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("the memory can be cut off under its users: %v", err)
	}
}

// Two processes see the same, which two mappings show as well.
func TestShared(t *testing.T) {
	ours, f, err := New("test", Sizes{Received: 9 << 20, Sent: 5 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	theirs, err := Open(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	ours.Sender(0).Begin(Sending{Direct, 5, []byte("hello")})
	if got, ok := theirs.Sender(0).InHand(); !ok || fmt.Sprint(got) != fmt.Sprint(Sending{Direct, 5, []byte("hello")}) {
		t.Errorf("the other process sees %+v", got)
	}
	for _, c := range []struct {
		sizes Sizes
		fit   bool
	}{
		{Sizes{Received: 9 << 20, Sent: 5 << 20}, true},
		{Sizes{Received: 1 << 20, Sent: 4 << 20, Baud: 12_000_000}, true}, // an earlier version may have made it larger
		{Sizes{Received: 9 << 20, Sent: 6 << 20}, false},
		{Sizes{Received: 10 << 20, Sent: 5 << 20}, false},
		{Sizes{Baud: 500_000_000}, true}, // a reload that changes the rate loses nothing
	} {
		if theirs.Fits(c.sizes) != c.fit {
			t.Errorf("memory for 9 MiB and 5 MiB fits %+v: %v", c.sizes, !c.fit)
		}
	}
}
