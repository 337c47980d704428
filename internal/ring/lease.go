package ring

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a Lease, in bytes.
const (
	MaxToken  = 32
	MaxHolder = 64
	MaxAlive  = 128
)

// Lease is the right of one client to be the only one that writes.
type Lease struct {
	Token  string // what the holder shows; empty: there is no lease
	Holder string // its name
	Alive  string // a subject that it is subscribed to for as long as it lives; empty: that does not matter
	// Expires is when it ends, on the clock of Now.
	Expires time.Duration
}

// Now is the time on CLOCK_MONOTONIC, which all processes share and timers go by: while the machine sleeps it stands still.
func Now() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail for this clock
	return time.Duration(t.Nano())
}

// leaseWords are the supervisor's. A new lease is written to the slot that is not in use, and comes into use as a whole.
type leaseWords struct {
	version atomic.Uint64 // counts changes; the lease in use is in slot version%2
	slots   [2]leaseSlot
}

type leaseSlot struct {
	expires atomic.Uint64
	token   [MaxToken / 8]atomic.Uint64
	holder  [MaxHolder / 8]atomic.Uint64
	alive   [MaxAlive / 8]atomic.Uint64
}

// SetLease changes the lease; the zero Lease ends it. One goroutine at a time calls it, in the supervisor.
func (r *Ring) SetLease(l Lease) error {
	w := &r.h.lease
	next := w.version.Load() + 1
	slot := &w.slots[next%2]
	for _, text := range []struct {
		what, value string
		words       []atomic.Uint64
	}{{"token", l.Token, slot.token[:]}, {"holder", l.Holder, slot.holder[:]}, {"alive", l.Alive, slot.alive[:]}} {
		if len(text.value) > 8*len(text.words) {
			return fmt.Errorf("%s has %d bytes, more than %d", text.what, len(text.value), 8*len(text.words))
		}
		storeText(text.words, text.value)
	}
	slot.expires.Store(uint64(l.Expires))
	w.version.Store(next)
	return nil
}

// Lease is the lease that was last set, expired or not, and a number that changes with it.
func (r *Ring) Lease() (l Lease, version uint64) {
	w := &r.h.lease
	for {
		version = w.version.Load()
		slot := &w.slots[version%2]
		l = Lease{loadText(slot.token[:]), loadText(slot.holder[:]), loadText(slot.alive[:]), time.Duration(slot.expires.Load())}
		if w.version.Load() == version {
			return l, version
		}
	}
}

// LeaseVersion is the number that Lease returns.
func (r *Ring) LeaseVersion() uint64 { return r.h.lease.version.Load() }

// Left is how long a lease lasts still; 0: it is over.
func (l Lease) Left() time.Duration {
	if l.Token == "" {
		return 0
	}
	return max(0, l.Expires-Now())
}

// storeText keeps a text without NUL bytes, padded with them.
func storeText(words []atomic.Uint64, text string) {
	padded := make([]byte, 8*len(words))
	copy(padded, text)
	for i := range words {
		words[i].Store(binary.LittleEndian.Uint64(padded[8*i:]))
	}
}

func loadText(words []atomic.Uint64) string {
	padded := make([]byte, 0, 8*len(words))
	for i := range words {
		padded = binary.LittleEndian.AppendUint64(padded, words[i].Load())
	}
	n := len(padded)
	for n > 0 && padded[n-1] == 0 {
		n--
	}
	return string(padded[:n])
}
