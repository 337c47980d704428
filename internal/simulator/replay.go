package simulator

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Replay is a device that says what a recording holds, once. What it is told it does not mind.
type Replay struct {
	Pty *Pty // let go of: it speaks only while somebody has the port open
	// Next is the recording: what was said, and when; io.EOF behind the last. After another error what came before is
	// played, and Play returns the error.
	Next  func() (at time.Time, said []byte, err error)
	Speed float64 // 1: as it was; 2: twice as fast; 0: as fast as it is taken
	// Settle is how long somebody must have had the port open before it speaks. Many programs open a port, set it up and
	// throw away what has come so far.
	Settle time.Duration
	// Told, if set, hears how it goes. Play waits for it.
	Told func(Progress)
}

// Stage is what a Replay does.
type Stage int

// The stages.
const (
	Waiting Stage = iota // nobody has the port open
	Playing              // somebody has
	Silent               // until Progress.Due nothing was said
	Said                 // a frame was said
	Ended                // all was said, and is to be read
	Held                 // the same; the port is held exclusively, and does not tell what was read
)

// Progress is how far a Replay is.
type Progress struct {
	Stage  Stage
	Frames int
	Bytes  int64
	Due    time.Time // Silent: when the next frame comes
}

// look is how often a Replay looks whether somebody has opened the port, or read everything.
const look = 20 * time.Millisecond

// errPlayed ends play.
var errPlayed = errors.New("all was played")

// Play returns nil when all was said and read, and ctx's error when it ends before. A port that is held exclusively does
// not tell what was read: then it returns when it is closed.
func (r Replay) Play(ctx context.Context) error {
	p := &performance{Replay: r}
	p.pace.speed = r.Speed
	err := play(ctx, r.Pty, p.speak, p.listen)
	switch {
	case errors.Is(err, errPlayed):
		return nil
	case err == nil:
		return ctx.Err()
	}
	return err
}

// performance is one Play.
type performance struct {
	Replay
	pace     pace
	progress Progress
}

func (p *performance) tell(s Stage) {
	p.progress.Stage = s
	if p.Told != nil {
		p.Told(p.progress)
	}
}

func (p *performance) speak(ctx context.Context) error {
	if err := p.awaitUser(ctx); err != nil {
		return err
	}
	for {
		at, said, broken := p.Next()
		if broken != nil {
			if err := p.awaitReading(ctx); err != nil {
				return err
			}
			if broken == io.EOF {
				return errPlayed
			}
			return broken
		}
		if err := p.say(ctx, at, said); err != nil {
			return err
		}
	}
}

// say says a frame when it is due, and somebody is there.
func (p *performance) say(ctx context.Context, at time.Time, said []byte) error {
	if wait := time.Until(p.pace.next(at, time.Now())); wait > 0 {
		p.progress.Due = p.pace.due
		p.tell(Silent)
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	open, err := p.Pty.Opened()
	if err != nil {
		return err
	}
	if !open {
		if err := p.awaitUser(ctx); err != nil {
			return err
		}
	}
	if _, err := p.Pty.Write(said); err != nil {
		return err
	}
	p.progress.Frames++
	p.progress.Bytes += int64(len(said))
	p.tell(Said)
	return nil
}

// awaitUser returns when somebody has had the port open for as long as it takes to settle.
func (p *performance) awaitUser(ctx context.Context) error {
	var since time.Time
	waits := false
	err := repeat(ctx, func() (done bool, err error) {
		open, err := p.Pty.Opened()
		now := time.Now()
		switch {
		case !open:
			since = time.Time{}
			if !waits && err == nil {
				waits = true
				p.tell(Waiting)
			}
		case since.IsZero():
			since = now
		}
		return open && now.Sub(since) >= p.Settle, err
	})
	if err != nil {
		return err
	}
	p.pace.resume(time.Now())
	p.tell(Playing)
	return nil
}

// awaitReading returns when what was said was read.
func (p *performance) awaitReading(ctx context.Context) error {
	p.tell(Ended)
	return repeat(ctx, func() (done bool, err error) {
		unread, err := p.Pty.Unread()
		if errors.Is(err, ErrExclusive) {
			if p.progress.Stage != Held {
				p.tell(Held)
			}
			open, err := p.Pty.Opened()
			return !open, err
		}
		return !unread, err
	})
}

// repeat asks until it is done.
func repeat(ctx context.Context, ask func() (done bool, err error)) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// listen takes what the device is told, so that who tells it does not wait.
func (p *performance) listen() error {
	for {
		_, err := io.Copy(io.Discard, p.Pty)
		if !errors.Is(err, unix.EIO) {
			return err
		}
		<-time.After(look) // nobody has the port open; play's deadline ends this
	}
}
