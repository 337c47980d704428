package supervisor

import "time"

// backoff says how long to wait before a worker that died is started again: not at all the first time, then 100 ms
// doubling to 5 s. Each wait is varied by a quarter either way, so that workers which died together do not come back
// together. It never gives up.
type backoff struct {
	random func() float64 // in [0, 1)
	deaths int            // since the worker last lived for long
}

const (
	backoffFirst = 100 * time.Millisecond
	backoffCap   = 5 * time.Second
	longLife     = 10 * time.Second
)

// next is the wait after a death. lived is how long the worker was; innocent says that it was at work and was killed from
// outside, by a SIGKILL, which no program does to itself. It has not failed, and is replaced at once however often that
// happens: traffic must not wait for it.
func (b *backoff) next(lived time.Duration, innocent bool) time.Duration {
	if innocent {
		return 0
	}
	if lived >= longLife {
		b.deaths = 0
	}
	b.deaths++
	if b.deaths == 1 {
		return 0
	}
	wait := backoffCap
	if doublings := b.deaths - 2; doublings < 6 {
		wait = min(backoffFirst<<doublings, backoffCap)
	}
	return min(time.Duration(float64(wait)*(0.75+b.random()/2)), backoffCap)
}
