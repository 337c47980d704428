package simulator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// frame is one that a recording holds.
type frame struct {
	at   time.Duration
	said string
}

// recording plays frames and ends with an error.
func recording(end error, frames ...frame) func() (time.Time, []byte, error) {
	return func() (time.Time, []byte, error) {
		if len(frames) == 0 {
			return time.Time{}, nil, end
		}
		f := frames[0]
		frames = frames[1:]
		return time.Unix(1e9, 0).Add(f.at), []byte(f.said), nil
	}
}

// stages are those that a Replay went through, each with a channel that closes when it comes.
type stages struct {
	mu   sync.Mutex // guards all below
	list []Stage
	come map[Stage]chan struct{}
}

func newStages() *stages {
	s := &stages{come: map[Stage]chan struct{}{}}
	for stage := Waiting; stage <= Held; stage++ {
		s.come[stage] = make(chan struct{})
	}
	return s
}

func (s *stages) told(p Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.list, p.Stage) {
		close(s.come[p.Stage])
	}
	s.list = append(s.list, p.Stage)
}

func (s *stages) await(t *testing.T, stage Stage) {
	t.Helper()
	select {
	case <-s.come[stage]:
	case <-time.After(limit):
		t.Fatalf("stage %d does not come", stage)
	}
}

// ended waits until a Replay has ended, and returns what Play did.
func ended(t *testing.T, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		t.Fatal("the replay goes on")
		return nil
	}
}

func start(ctx context.Context, r Replay) chan error {
	done := make(chan error, 1)
	go func() { done <- r.Play(ctx) }()
	return done
}

// It waits for its user, plays at the pace of the recording, minds nothing it is told, and ends when all was read.
func TestReplay(t *testing.T) {
	p, s := openAlone(t), newStages()
	done := start(context.Background(), Replay{Pty: p, Speed: 10, Told: s.told, Settle: time.Millisecond,
		Next: recording(io.EOF, frame{0, "one\r\n"}, frame{time.Second, "\x00\x11\x13\xff"}, frame{time.Second, "three"})})
	s.await(t, Waiting)
	opened := time.Now()
	port := openPort(t, p.Path())
	s.await(t, Playing)
	expect(t, port, []byte("one\r\n\x00\x11"))
	if took := time.Since(opened); took < 100*time.Millisecond {
		t.Errorf("what came a second later was played after %v at ten times the speed", took)
	}
	// More than fits if nobody took it.
	if _, err := port.Write(everyByte(400)); err != nil {
		t.Fatalf("what is sent to the device is not taken: %v", err)
	}
	s.await(t, Ended)
	expect(t, port, []byte("\x13\xff"))
	select {
	case err := <-done:
		t.Fatalf("it ended before all was read: %v", err)
	default:
	}
	expect(t, port, []byte("three"))
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
}

// More than the port holds, and faster than it is taken.
func TestReplayAtOnce(t *testing.T) {
	p, s := openAlone(t), newStages()
	all := everyByte(1000)
	var frames []frame
	for rest := all; len(rest) > 0; {
		n := min(len(rest), 1+len(frames)%777)
		frames = append(frames, frame{time.Hour * time.Duration(len(frames)), string(rest[:n])})
		rest = rest[n:]
	}
	done := start(context.Background(), Replay{Pty: p, Next: recording(io.EOF, frames...), Told: s.told})
	port := openPort(t, p.Path())
	expect(t, port, all)
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.list, Silent) {
		t.Error("it waited")
	}
}

// Guards against an end that comes between a read(2), which has emptied the port, and what waits in the kernel behind it:
// that would be lost when the device goes.
func TestReplayLosesNothingAtItsEnd(t *testing.T) {
	all := everyByte(98)
	for range 60 {
		p := openAlone(t)
		port := openPort(t, p.Path())
		var got bytes.Buffer
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = got.ReadFrom(port) // until the device goes
		}()
		if err := ended(t, start(context.Background(), Replay{Pty: p, Next: recording(io.EOF, frame{0, string(all)})})); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if <-read; !bytes.Equal(got.Bytes(), all) {
			t.Fatalf("%d bytes were read, want %d", got.Len(), len(all))
		}
	}
}

// A port that is closed and opened again misses nothing.
func TestReplayPauses(t *testing.T) {
	p := openAlone(t)
	said, waiting := make(chan string), make(chan struct{}, 10)
	told := func(p Progress) {
		if p.Stage == Waiting {
			waiting <- struct{}{}
		}
	}
	done := start(context.Background(), Replay{Pty: p, Speed: 1, Told: told, Next: func() (time.Time, []byte, error) {
		text, ok := <-said
		if !ok {
			return time.Time{}, nil, io.EOF
		}
		return time.Unix(1e9, 0), []byte(text), nil
	}})
	<-waiting
	port := openPort(t, p.Path())
	said <- "one"
	expect(t, port, []byte("one"))
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	said <- "two"
	select {
	case <-waiting:
	case <-time.After(limit):
		t.Fatal("it speaks though nobody is there")
	}
	mustBe(t, "unread", p.Unread, false)
	port = openPort(t, p.Path())
	expect(t, port, []byte("two"))
	said <- "three"
	close(said)
	expect(t, port, []byte("three"))
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
}

func TestReplayOfABrokenRecording(t *testing.T) {
	p, broken := openAlone(t), errors.New("line 2 is broken")
	done := start(context.Background(), Replay{Pty: p, Next: recording(broken, frame{0, "whole"})})
	port := openPort(t, p.Path())
	expect(t, port, []byte("whole"))
	if err := ended(t, done); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

func TestReplayEndsWithItsContext(t *testing.T) {
	for name, stage := range map[string]Stage{"waiting": Waiting, "silent": Silent, "unread": Ended} {
		t.Run(name, func(t *testing.T) {
			p, s := openAlone(t), newStages()
			frames := []frame{{0, "one"}}
			if stage == Silent {
				frames = append(frames, frame{time.Hour, "two"})
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := start(ctx, Replay{Pty: p, Speed: 1, Next: recording(io.EOF, frames...), Told: s.told})
			if stage != Waiting {
				openPort(t, p.Path())
			}
			s.await(t, stage)
			cancel()
			if err := ended(t, done); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want %v", err, context.Canceled)
			}
		})
	}
}

// Where nobody sees what was read, it ends when the port is closed; for root, as ever.
func TestReplayToAnExclusiveUser(t *testing.T) {
	p, s := openAlone(t), newStages()
	port := openPort(t, p.Path())
	exclusively(t, p)
	done := start(context.Background(), Replay{Pty: p, Next: recording(io.EOF, frame{0, "one"}), Told: s.told})
	if os.Geteuid() != 0 {
		s.await(t, Held)
	}
	expect(t, port, []byte("one"))
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
}

// Told in its order, and with true numbers.
func TestReplayTellsHowItGoes(t *testing.T) {
	p, s := openAlone(t), newStages()
	var told []Progress
	done := start(context.Background(), Replay{Pty: p, Next: recording(io.EOF, frame{0, "one"}, frame{0, "three"}), Told: func(p Progress) {
		told = append(told, p)
		s.told(p)
	}})
	s.await(t, Waiting)
	port := openPort(t, p.Path())
	var got bytes.Buffer
	if _, err := io.CopyN(&got, port, 8); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, done); err != nil {
		t.Fatal(err)
	}
	want := []Progress{{Stage: Waiting}, {Stage: Playing}, {Stage: Said, Frames: 1, Bytes: 3}, {Stage: Said, Frames: 2, Bytes: 8}, {Stage: Ended, Frames: 2, Bytes: 8}}
	if !slices.Equal(told, want) {
		t.Errorf("told %+v, want %+v", told, want)
	}
}
