package supervisor

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestBackoffCurve(t *testing.T) {
	b := backoff{random: func() float64 { return 0.5 }} // in the middle: no variation
	for i, want := range []time.Duration{0, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		if got := b.next(time.Second, false); got != want*time.Millisecond {
			t.Errorf("death %d: wait %s, want %s", i+1, got, want*time.Millisecond)
		}
	}
	for range 1000 { // never gives up, never overflows
		if got := b.next(0, false); got != backoffCap {
			t.Fatalf("wait %s, want the cap", got)
		}
	}
	if got := b.next(longLife, false); got != 0 {
		t.Errorf("after a long life: wait %s, want none", got)
	}
	if got := b.next(0, false); got != backoffFirst {
		t.Errorf("the death after that: wait %s, want %s", got, backoffFirst)
	}
}

func TestBackoffIsVaried(t *testing.T) {
	for _, c := range []struct {
		random float64
		want   time.Duration
	}{{0, 75 * time.Millisecond}, {0.999999, 125 * time.Millisecond}} {
		b := backoff{random: func() float64 { return c.random }, deaths: 1}
		if got := b.next(0, false).Round(time.Millisecond); got != c.want {
			t.Errorf("with random %g: wait %s, want %s", c.random, got, c.want)
		}
	}
}

func TestKilledFromOutside(t *testing.T) {
	b := backoff{random: func() float64 { return 0.5 }, deaths: 5}
	for range 1000 {
		if got := b.next(20*time.Millisecond, true); got != 0 {
			t.Fatalf("a worker that was at work and was killed waits %s", got)
		}
	}
	if got := b.next(20*time.Millisecond, false); got != 1600*time.Millisecond {
		t.Errorf("one that fails by itself waits %s, want what it would have waited before", got)
	}
}

// TestAnHourOfDeaths is a worker that ends as soon as it is started, with a clock of the test's own: it is started about every five
// seconds, for ever.
func TestAnHourOfDeaths(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := backoff{random: random.Float64}
	const life = 5 * time.Millisecond
	starts, clock := 0, time.Duration(0)
	for ; clock < time.Hour; starts++ {
		wait := b.next(life, false)
		if starts > 8 && (wait < backoffCap*3/4 || wait > backoffCap) {
			t.Fatalf("after %s and %d starts: wait %s, want %s, less a quarter at most", clock, starts, wait, backoffCap)
		}
		clock += life + wait
	}
	if least, most := int(time.Hour/backoffCap), int(time.Hour/(backoffCap*3/4))+10; starts < least || starts > most {
		t.Errorf("%d starts in an hour, want %d to %d", starts, least, most)
	}
}
