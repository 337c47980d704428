package writer

import (
	"errors"
	"fmt"
	"time"

	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ring"
)

var (
	errLate    = errors.New("the time is over")
	errClosing = errors.New("the port is closing")
)

// answer is what was received of one, put together from frames.
type answer struct {
	codec     frame.Codec
	raw       bool   // frames are what came at once
	delimiter []byte // between frames
	most      int    // bytes that fit into a reply
	passed    bool   // nobody gets it

	text    []byte
	frames  int
	start   int  // in text, of the frame that is not complete
	between bool // a delimiter comes before the next frame
	early   bool // the next frame is a piece of one that began before the request was written
}

func (w *writer) newAnswer(most int) *answer {
	return &answer{codec: w.answers, raw: w.raw, delimiter: w.delimiter, most: most}
}

// counts says whether a frame belongs to the answer. One that began before the request was written does not, nor do its
// further pieces; but of raw bytes those do that came since.
func (a *answer) counts(f ring.Heard) bool {
	if a.raw {
		return len(f.Wire) > 0
	}
	early := f.Early || a.early
	a.early = early && frame.Flags(f.Flags)&frame.Continued != 0
	return !early
}

// add appends a frame. It returns true if one is complete with it, and that frame.
func (a *answer) add(f ring.Heard) (whole []byte, complete bool, err error) {
	flags := frame.Flags(f.Flags)
	if a.between {
		a.text = append(a.text, a.delimiter...)
		a.start = len(a.text)
	}
	a.text = append(a.text, a.codec.Payload(f.Wire, flags)...)
	if len(a.text) > a.most {
		return nil, false, fmt.Errorf("the answer has more than the %d bytes that a message can carry", a.most)
	}
	a.between = flags&(frame.Partial|frame.Continued|frame.Malformed) == 0
	if flags&frame.Continued != 0 {
		return nil, false, nil
	}
	whole = a.text[a.start:]
	a.start = len(a.text)
	a.frames++
	if a.passed {
		a.text, a.start, a.between = a.text[:0], 0, false
	}
	return whole, true, nil
}

// addRest appends what is no frame yet.
func (a *answer) addRest(rest []byte) {
	if len(rest) == 0 {
		return
	}
	if a.between {
		a.text = append(a.text, a.delimiter...)
	}
	a.text = append(a.text, rest[:max(0, min(len(rest), a.most-len(a.text)))]...)
}

// hear puts the answer together that a listener gets. With errLate or errClosing there is what came until then.
func (w *writer) hear(l *ring.Listener, a *answer, t terms, deadline time.Time) error {
	want := ring.WantFrames
	if t.gap > 0 {
		want = ring.WantBytes
	}
	head, last := l.From(), time.Time{} // when the last byte came
	for {
		l.Want(want)
		for {
			f, ok, err := l.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if !a.counts(f) {
				continue
			}
			whole, complete, err := a.add(f)
			if err != nil {
				return err
			}
			if complete && (a.frames == t.frames || t.until != nil && t.until.Match(whole)) {
				return nil
			}
		}
		now := time.Now()
		end := deadline
		if t.gap > 0 {
			if h := l.Head(); h > head {
				head, last = h, now
			}
			if silent := last.Add(t.gap); !last.IsZero() && silent.Before(end) {
				end = silent
			}
		}
		if now.Before(end) && !w.isStopping() {
			if err := w.Bell.Wait(end.Sub(now)); err != nil {
				return err
			}
			continue
		}
		if end != deadline {
			// The reader may have had no time yet to take what has come.
			if n, err := w.Device.Unread(); err == nil && n > 0 {
				last = now
				continue
			}
		}
		rest, ok, err := l.Rest()
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if end != deadline && a.frames == 0 && len(a.text)+len(rest) == 0 {
			last = time.Time{} // what came belongs to what was there before
			continue
		}
		a.addRest(rest)
		switch {
		case w.isStopping():
			return errClosing
		case end == deadline:
			return errLate
		}
		return nil
	}
}

// replyRoom is what a reply needs beside its text.
const replyRoom = 2 << 10

func (w *writer) isStopping() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}
