package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// device speaks and listens on a pseudo-terminal, and keeps account of both. It is unplugged and plugged in again; from one
// to the other is a life of it, counted from 0. What it says next begins behind what it has said last, in whichever life.
type device struct {
	link   string // what the port is configured with
	speech talk
	order  talk // what it is sent

	mu      sync.Mutex     // guards all below
	pty     *simulator.Pty // nil: it does not speak, as it is unplugged or was cut off
	plugged chan struct{}  // closed while there is a pty
	cutting chan struct{}  // not nil: the next frame is cut off, and the channel closed
	leaving bool           // it is being unplugged
	deaf    time.Time      // until then it does not read
	said    []saying       // by number
	lives   []lifetime     // up to the one that it is in
	got     []token        // in the order in which they came

	speaks, hears chan struct{} // not nil: closed with the next bytes that it says or gets

	listener sync.WaitGroup
	unplugs  chan struct{} // closed when this life ends
}

// saying is a frame that was said.
type saying struct {
	life  int
	bytes int // of it; fewer than it has, if the device was unplugged meanwhile
	whole bool
	begun int64 // when, in ns since 1970
	done  int64
}

// lifetime is from being plugged in to being unplugged, in ns since 1970.
type lifetime struct{ from, to int64 }

func newDevice(link string, speech, order talk) *device {
	return &device{link: link, speech: speech, order: order, plugged: make(chan struct{})}
}

// plugIn begins a life.
func (d *device) plugIn() error {
	pty, err := simulator.Open()
	if err != nil {
		return err
	}
	if err := pty.Link(d.link); err != nil {
		_ = pty.Close()
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	life, unplugs := len(d.lives), make(chan struct{})
	d.lives = append(d.lives, lifetime{from: time.Now().UnixNano()})
	d.listener.Go(func() { d.listen(pty, life, unplugs) })
	d.pty, d.unplugs = pty, unplugs
	close(d.plugged)
	return nil
}

// unplug ends a life, in the middle of a frame if that is wanted and the device says one soon. It returns false if the
// device was not there.
func (d *device) unplug(inMidFrame bool) bool {
	cut := make(chan struct{})
	d.mu.Lock()
	pty := d.pty
	if pty == nil || d.leaving {
		d.mu.Unlock()
		return false
	}
	d.leaving = true
	if inMidFrame {
		d.cutting = cut
	}
	d.mu.Unlock()
	if inMidFrame {
		select {
		case <-cut:
		case <-time.After(300 * time.Millisecond): // it is in the middle of one that nobody reads
		}
	}
	d.mu.Lock()
	d.silence()
	d.cutting = nil
	close(d.unplugs)
	d.mu.Unlock()
	// The link first: the number of the pseudo-terminal can soon be another's.
	_ = os.Remove(d.link)
	_ = pty.Close()
	d.listener.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaving = false
	d.lives[len(d.lives)-1].to = time.Now().UnixNano()
	return true
}

// silence has the device say no more in this life. It must be called with mu held.
func (d *device) silence() {
	if d.pty != nil {
		d.pty, d.plugged = nil, make(chan struct{})
	}
}

// present waits until it is plugged in.
func (d *device) present(ctx context.Context) (*simulator.Pty, error) {
	for {
		d.mu.Lock()
		pty, plugged := d.pty, d.plugged
		d.mu.Unlock()
		if pty != nil {
			return pty, nil
		}
		select {
		case <-plugged:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Run speaks until ctx ends, some hundred frames a second in bursts.
func (d *device) Run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(d.speech.seed, uint64(d.speech.place)))
	for ctx.Err() == nil {
		frames, pause := burst(random)
		if pty, err := d.present(ctx); err == nil {
			if err := d.say(pty, frames); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// burst is how many frames are said or sent at once, and how long nothing then: 250 a second.
func burst(random *rand.Rand) (frames int, pause time.Duration) {
	frames = 1
	if random.IntN(4) == 0 {
		frames += random.IntN(30)
	}
	return frames, time.Duration(random.IntN(2*frames*4000)) * time.Microsecond
}

// nextBytes is closed when the device gets bytes, or is about to say some.
func (d *device) nextBytes(gets bool) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	which := &d.speaks
	if gets {
		which = &d.hears
	}
	if *which == nil {
		*which = make(chan struct{})
	}
	return *which
}

// notice closes what nextBytes has returned.
func (d *device) notice(which *chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *which != nil {
		close(*which)
		*which = nil
	}
}

// say says some frames in one go, for as long as the device is plugged in. What was not begun then is said later.
func (d *device) say(pty *simulator.Pty, frames int) error {
	d.mu.Lock()
	first, life, cutting := len(d.said), len(d.lives)-1, d.cutting
	d.mu.Unlock()
	var text []byte
	var ends []int // of the frames in it
	for n := first; n < first+frames; n++ {
		text = append(text, d.speech.wire(n)...)
		ends = append(ends, len(text))
	}
	if cutting != nil {
		last := ends[len(ends)-1] - len(d.speech.wire(first+frames-1))
		text = text[:last+1+int(d.speech.seed+uint64(first))%(len(text)-last-1)]
	}
	begun := time.Now().UnixNano()
	d.notice(&d.speaks)
	n, err := pty.Write(text)
	done := time.Now().UnixNano()
	d.mu.Lock()
	defer d.mu.Unlock()
	start := 0
	for _, end := range ends {
		if n <= start {
			break
		}
		d.said = append(d.said, saying{life, min(n, end) - start, n >= end, begun, done})
		start = end
	}
	if cutting != nil && d.cutting == cutting {
		d.silence()
		d.cutting = nil
		close(cutting)
	}
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("the device at %s cannot speak: %w", d.link, err)
	}
	return nil
}

// sayLast says a last frame, one that comes in one piece.
func (d *device) sayLast(ctx context.Context) error {
	for {
		d.mu.Lock()
		n := len(d.said)
		d.mu.Unlock()
		pty, err := d.present(ctx)
		if err == nil {
			err = d.say(pty, 1)
		}
		if err != nil || d.speech.short(n) {
			return err
		}
	}
}

// listen takes what the device is sent in a life.
func (d *device) listen(pty *simulator.Pty, life int, unplugs <-chan struct{}) {
	in := tokens{talk: d.order, life: life, emit: func(t token) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.got = append(d.got, t)
	}}
	defer in.flush()
	buffer := make([]byte, 16<<10)
	for {
		d.mu.Lock()
		deaf := time.Until(d.deaf)
		d.mu.Unlock()
		if deaf > 0 {
			select {
			case <-unplugs:
				return
			case <-time.After(deaf):
			}
			continue
		}
		n, err := pty.Read(buffer)
		d.notice(&d.hears)
		in.write(buffer[:n], time.Now().UnixNano())
		if err != nil {
			return // unplugged
		}
	}
}

// beDeaf has it read nothing for a time.
func (d *device) beDeaf(length time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if until := time.Now().Add(length); until.After(d.deaf) {
		d.deaf = until
	}
}

// count is how many frames were said.
func (d *device) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.said)
}

// received is how many frames it was sent, whole or not, and has says whether the last is whole and has that number.
func (d *device) received() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.got)
}

func (d *device) has(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.got) > 0 && d.got[len(d.got)-1].kind == whole && d.got[len(d.got)-1].n == n
}
