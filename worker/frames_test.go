package worker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/worker"
)

// next takes one frame after the other out of a loop.
func next(t testing.TB, frames iter.Seq2[worker.Frame, error]) func() (worker.Frame, error) {
	t.Helper()
	pull, stop := iter.Pull2(frames)
	t.Cleanup(stop)
	return func() (worker.Frame, error) {
		f, err, ok := pull()
		if !ok {
			t.Fatal("the loop has ended")
		}
		return f, err
	}
}

func TestFrames(t *testing.T) {
	gps, psu := plug(t, nil), plug(t, nil)
	g := start(t, fmt.Sprintf("ports: {gps: {device: %s}, psu: {device: %s}}", gps.Path(), psu.Path()))
	for _, role := range []string{"tap", "send", "admin"} {
		w := connect(t, g.env(t, role, "gps"))
		if got := w.Ports(); len(got) != 1 || got[0] != "gps" || w.Name() != "test-"+role {
			t.Errorf("the worker is %s for %v", w.Name(), got)
		}
		frame := next(t, w.Frames(soon(t)))
		before := time.Now()
		psu.say(t, "not for us\n")
		gps.say(t, "one\ntwo\n")
		var offset uint64
		for i, want := range []string{"one", "two"} {
			f, err := frame()
			if err != nil {
				t.Fatal(err)
			}
			if f.Port != "gps" || f.String() != want || f.Flags != "" || !strings.HasSuffix(f.ID, fmt.Sprintf(".%d", f.Offset)) ||
				f.Time.Before(before) || f.Time.After(time.Now()) || i == 1 && f.Offset != offset+4 {
				t.Errorf("frame %d is %+v", i, f)
			}
			offset = f.Offset
		}
	}
	w := connect(t, g.env(t, "send"))
	if got := fmt.Sprint(w.Ports()); got != "[gps psu]" {
		t.Errorf("without ports in the environment they are %s", got)
	}
	if _, err := next(t, w.Frames(soon(t), "nope"))(); !errors.Is(err, worker.ErrUnknownPort) || !strings.Contains(err.Error(), "gps, psu") {
		t.Errorf("frames of a port that does not exist: %v", err)
	}
	ctx, cancel := context.WithCancel(soon(t))
	cancel()
	for f, err := range w.Frames(ctx) {
		t.Errorf("after its context ended a loop gets %v, %v", f, err)
	}
	if _, err := next(t, w.FramesSince(soon(t), time.Hour))(); !errors.Is(err, worker.ErrNotAllowed) || !strings.Contains(err.Error(), "role tap") {
		t.Errorf("the history with role send: %v", err)
	}
}

// A loop that does not keep up is told exactly how much it missed, and where.
func TestSlowLoopIsTold(t *testing.T) {
	gps := plug(t, nil)
	g := start(t, "ports: {gps: {device: "+gps.Path()+"}}\nhistory: {storage: none}\n")
	w := connect(t, g.env(t, "send"))
	frames := w.Frames(soon(t), "gps")
	const total = 20000
	for i := 0; i < total; i += 100 {
		text := ""
		for j := i; j < i+100; j++ {
			text += fmt.Sprintf("%d\n", j)
		}
		gps.say(t, text)
	}
	waitUntil(t, "all frames were received", func() bool { return g.status().Ports[0].Rx.Frames == total })
	if err := w.Conn().FlushWithContext(soon(t)); err != nil {
		t.Fatal(err)
	}
	seen, missed, last := 0, 0, -1
	frame := next(t, frames)
	for seen+missed < total {
		f, err := frame()
		var m *worker.Missed
		switch {
		case errors.As(err, &m) && errors.Is(err, worker.ErrMissed):
			if missed += m.Frames; m.Frames == 0 {
				t.Fatalf("how many is not known: %v", m)
			}
		case err != nil:
			t.Fatal(err)
		default:
			n, err := strconv.Atoi(f.String())
			if err != nil || n <= last {
				t.Fatalf("behind %d comes %s", last, f)
			}
			seen, last = seen+1, n
		}
	}
	if missed < total-16500 || seen < 16000 {
		t.Errorf("%d frames came, %d were missed", seen, missed)
	}
	gps.say(t, "more\n")
	if f, err := frame(); err != nil || f.String() != "more" {
		t.Errorf("then %v, %v", f, err)
	}
}

// Who was away is told, and hears what comes then.
func TestBrokenConnectionIsTold(t *testing.T) {
	gps := plug(t, nil)
	g := start(t, "ports: {gps: {device: "+gps.Path()+"}}")
	p, env := between(t, g.env(t, "send"))
	w := connect(t, env)
	frame := next(t, w.Frames(soon(t)))
	gps.say(t, "before\n")
	if f, err := frame(); err != nil || f.String() != "before" {
		t.Fatalf("%v, %v", f, err)
	}
	p.cut()
	if _, err := frame(); !errors.Is(err, worker.ErrMissed) {
		t.Fatalf("after the connection broke: %v", err)
	}
	gps.say(t, "after\n")
	if f, err := frame(); err != nil || f.String() != "after" {
		t.Fatalf("%v, %v", f, err)
	}
}

// History and live frames join without a gap or a double, whatever happens to the connection.
func TestFramesSince(t *testing.T) {
	gps := plug(t, nil)
	g := start(t, "ports: {gps: {device: "+gps.Path()+"}, other: {device: /dev/does-not-exist}}")
	const total = 12000 // more than the ids that are remembered
	told := make(chan int, total)
	written := make(chan error, 1)
	go func() {
		for i := range total {
			if _, err := fmt.Fprintf(gps, "%d\n", i); err != nil {
				written <- err
				return
			}
			told <- i
		}
		written <- nil
	}()
	for range total / 3 {
		<-told
	}
	for _, ports := range [][]string{{"gps"}, {"gps", "other"}, nil} {
		p, env := between(t, g.env(t, "tap"))
		w := connect(t, env)
		count := 0
		for f, err := range w.FramesSince(soon(t), time.Hour, ports...) {
			if err != nil {
				t.Fatal(err)
			}
			if f.String() != fmt.Sprint(count) {
				t.Fatalf("frames of %v: frame %d is %s", ports, count, f)
			}
			if count++; count%4000 == 500 {
				p.cut()
			}
			if count == total {
				break
			}
		}
		if count != total {
			t.Errorf("frames of %v: %d of %d", ports, count, total)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

// The history of a worker that may see some ports only is read port by port.
func TestFramesSinceOfSomePorts(t *testing.T) {
	a, b, c := plug(t, nil), plug(t, nil), plug(t, nil)
	g := start(t, fmt.Sprintf(`ports: {a: {device: %s}, b: {device: %s}, c: {device: %s}}
workers:
  waiter: {command: env >env.tmp && mv env.tmp env && exec sleep 1h, role: tap, ports: [a, b]}
`, a.Path(), b.Path(), c.Path()))
	var env []string
	waitUntil(t, "a worker has its environment", func() bool {
		text, err := os.ReadFile(filepath.Join(g.dir, "env"))
		env = strings.Split(strings.TrimSpace(string(text)), "\n")
		return err == nil
	})
	env = slices.DeleteFunc(env, func(v string) bool { return !strings.HasPrefix(v, "NATS_") && !strings.HasPrefix(v, "SERIALVISOR_") })
	for _, d := range []*device{a, b, c} {
		d.say(t, "1\n2\n")
	}
	w := connect(t, env)
	count := map[string]int{}
	frame := next(t, w.FramesSince(soon(t), time.Hour))
	for i := range 6 {
		f, err := frame()
		if err != nil {
			t.Fatal(err)
		}
		if count[f.Port]++; f.Port == "c" || f.String() != fmt.Sprint(count[f.Port]) {
			t.Errorf("frame %d is %s of port %s", i, f, f.Port)
		}
		if i == 3 {
			a.say(t, "3\n")
			b.say(t, "3\n")
		}
	}
	if _, err := next(t, w.FramesSince(soon(t), time.Hour, "c"))(); !errors.Is(err, worker.ErrNotAllowed) {
		t.Errorf("the history of another port: %v", err)
	}
	if _, err := next(t, w.Frames(soon(t), "c"))(); !errors.Is(err, worker.ErrNotAllowed) {
		t.Errorf("another port: %v", err)
	}
}

// What the history has let go of before the loop came to it is told.
func TestSlowerThanTheHistory(t *testing.T) {
	gps := plug(t, nil)
	g := start(t, "ports: {gps: {device: "+gps.Path()+"}}\nhistory: {storage: memory, max_bytes: 1MiB}")
	w := connect(t, g.env(t, "tap"))
	frame := next(t, w.FramesSince(soon(t), time.Hour))
	say := func(n int) {
		for range n {
			gps.say(t, strings.Repeat("x", 999)+"\n")
		}
	}
	say(500)
	waitUntil(t, "all frames were received", func() bool { return g.status().Ports[0].Rx.Frames == 500 })
	if f, err := frame(); err != nil || len(f.Data) != 999 {
		t.Fatalf("%v, %v", f, err)
	}
	say(3000)
	waitUntil(t, "all frames were received", func() bool { return g.status().Ports[0].Rx.Frames == 3500 })
	for n := 1; n < 3500; n++ {
		if _, err := frame(); errors.Is(err, worker.ErrMissed) {
			if _, err := frame(); err != nil {
				t.Error(err)
			}
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("the loop was not told")
}
