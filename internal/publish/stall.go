package publish

import "time"

// A stream that does not store, because its disk is full or hangs, does not refuse: it is silent. One whose disk is slow, or
// that is sent more than it can store, answers late, and what it has waiting it answers together. In all cases the window
// fills, and its oldest message grows old. Nobody who only publishes can tell them apart, and the difference matters: one
// that does not store is not waited for, and one that has too much to do never gets done with it if it is not.

const (
	// warnEvery is how often a stall is logged at most.
	warnEvery = 10 * time.Second
	// patient is for how long a stream is waited for that is known to store.
	patient = 10 * time.Second
	// glance is how often that is looked at while somebody waits.
	glance = 100 * time.Millisecond
)

// mayWait says for how long the caller may wait for a window that is full. It must be called with mu held.
func (p *Publisher) mayWait() time.Duration {
	now := time.Now()
	if !p.nc.IsConnected() {
		// Nobody would have what is sent now, so the caller waits with it.
		p.stalled, p.alive = false, now
	}
	stores := p.stores()
	if stores && !p.known {
		p.trust(now)
	}
	p.known = stores
	if p.stalled {
		return 0
	}
	since := p.window.at(p.window.head).came
	if p.alive.After(since) {
		since = p.alive
	}
	switch wait := p.limit(stores) - now.Sub(since); {
	case wait > 0 && stores:
		return min(wait, glance)
	case wait > 0:
		return wait
	}
	p.stalled = true
	if now.Sub(p.warned) > warnEvery {
		p.warned, p.told = now, true
		p.log.Warn("the stream does not keep up: traffic goes on without waiting for it, and what it has not stored is counted as lost")
	}
	return 0
}

// limit is for how long the stream is waited for. It must be called with mu held.
func (p *Publisher) limit(stores bool) time.Duration {
	if stores {
		return max(p.patient, p.stall)
	}
	return p.stall
}

// trust ends a stall because the stream is known to store again, and has it asked what it has. It must be called with mu held.
func (p *Publisher) trust(now time.Time) {
	p.stalled, p.alive, p.asks = false, now, true
	p.sent, p.heard = time.Time{}, time.Time{}
	notify(p.again)
}

// Relieve makes room for a caller who keeps the messages too, until they are stored, and has none left: it gives up the
// oldest if that has waited for as long as it may, see GiveUpAfter. Else it returns how long it may wait yet.
func (p *Publisher) Relieve() (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.window.empty() {
		return p.stall // all is stored
	}
	if wait = p.mayWait(); wait <= 0 {
		p.giveUp()
	}
	return wait
}

// Oldest says since when the oldest message is under way. It returns false if none is.
func (p *Publisher) Oldest() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.window.empty() {
		return time.Time{}, false
	}
	return p.window.at(p.window.head).came, true
}

// giveUp gives up the oldest message. It must be called with mu held, on a window that is not empty.
func (p *Publisher) giveUp() {
	n := p.window.head
	if p.lost != nil {
		p.missing.add(n)
		p.lost(1)
	}
	if mark, moved := p.window.settle(n); moved {
		p.stored(mark)
	}
}

// storedLate notes that a message was acknowledged which is not in the window any more. It must be called with mu held.
func (p *Publisher) storedLate(n uint64) {
	if p.missing.take(n) {
		p.lost(-1)
	}
}

// inTime notes that a message was acknowledged now which had been sent at some time. One that was sent long ago shows a
// stream that is busy with what it should have stored before. It must be called with mu held.
func (p *Publisher) inTime(sent, now time.Time) {
	if now.Sub(sent) >= p.limit(p.stores()) {
		return
	}
	p.alive = now
	p.stalled = false
	if p.told {
		p.told = false
		p.log.Info("the stream keeps up again")
	}
}
