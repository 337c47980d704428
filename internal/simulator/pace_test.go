package simulator

import (
	"math"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	after := func(seconds ...float64) (times []time.Time) {
		for _, s := range seconds {
			times = append(times, start.Add(time.Duration(s*float64(time.Second))))
		}
		return times
	}
	for name, c := range map[string]struct {
		speed    float64
		recorded []time.Time
		want     []float64 // seconds after the first
	}{
		"as it was":        {1, after(100, 100, 101.5, 200), []float64{0, 0, 1.5, 100}},
		"twice as fast":    {2, after(0, 3, 10), []float64{0, 1.5, 5}},
		"slower":           {0.5, after(0, 3), []float64{0, 6}},
		"at once":          {0, after(0, 3, 10000), []float64{0, 0, 0}},
		"a clock set back": {1, after(100, 101, 50, 51), []float64{0, 1, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pace{speed: c.speed}
			now := start.Add(time.Hour)
			for i, at := range c.recorded {
				want := now.Add(time.Duration(c.want[i] * float64(time.Second)))
				if got := p.next(at, now); !got.Equal(want) {
					t.Errorf("frame %d is due %v after the first, want %v s", i, got.Sub(now), c.want[i])
				}
			}
		})
	}
	t.Run("a pause", func(t *testing.T) {
		p := pace{speed: 1}
		now := start.Add(time.Hour)
		p.resume(now) // before the first frame
		p.next(start, now)
		p.resume(now.Add(time.Minute))
		if got := p.next(start.Add(time.Second), now); !got.Equal(now.Add(time.Minute + time.Second)) {
			t.Errorf("due %v after the first, want 1m1s", got.Sub(now))
		}
	})
	if got := scaled(time.Hour, 1e-12); got != math.MaxInt64 {
		t.Errorf("an hour slowed down beyond all times is %v", got)
	}
}
