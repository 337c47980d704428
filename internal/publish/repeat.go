package publish

import (
	"time"

	"github.com/nats-io/nats.go"
)

// A stream takes messages in the order in which they were sent, and answers in that order. So one that has no answer is
// lost for certain when a later one has: it was refused, or dropped when the store failed. Without that there is nothing
// to tell lost ones from those that a slow stream will come to, and sending these again would only make it slower; then
// new messages show how things are, and when there are none, and no answers either, the oldest alone is sent again from
// time to time. A stream that is known to store may yet come to it: many copies would wait there one behind the other, and the
// last be stored once more when the stream has forgotten the first. So one that is not young any more is sent again after a long
// silence only.

// repeat sends again, in order, what the stream has lost.
func (p *Publisher) repeat() {
	now := time.Now()
	p.mu.Lock()
	silence := p.patience
	if p.stores() && !p.asks && !p.isYoung(now) {
		silence = p.patient
	}
	quiet := now.Sub(p.sent) > silence && now.Sub(p.heard) > silence
	p.asks = false
	again := p.pick(func(n uint64, s *slot) bool { return p.isLost(s, now) || quiet && n == p.window.head })
	p.mu.Unlock()
	p.sendAgain(again)
}

// isYoung says whether the oldest message may be sent again after a short silence: its copies come to the stream within the time for
// which that remembers an id. It must be called with mu held.
func (p *Publisher) isYoung(now time.Time) bool {
	return !p.window.empty() && now.Sub(p.window.at(p.window.head).came) < 2*p.patience+p.patience/4
}

// probe sends the oldest message again if it has waited for long, so that an answer shows how things are.
func (p *Publisher) probe() {
	due := time.Now().Add(-p.patience)
	p.mu.Lock()
	oldest := p.pick(func(n uint64, s *slot) bool { return n == p.window.head && s.came.Before(due) })
	p.mu.Unlock()
	p.sendAgain(oldest)
}

// isLost says whether a message that has no answer will not get one. It must be called with mu held.
func (p *Publisher) isLost(s *slot, now time.Time) bool {
	return s.last < p.answered && now.Sub(s.sent) > haste
}

// Resend sends all that is under way again at once, as after a reconnect, when nobody knows what has arrived.
func (p *Publisher) Resend() {
	p.mu.Lock()
	all := p.pick(func(uint64, *slot) bool { return true })
	p.mu.Unlock()
	p.send(all)
}

// pick makes copies of messages under way, and notes that they are sent. It must be called with mu held.
func (p *Publisher) pick(which func(n uint64, s *slot) bool) []*nats.Msg {
	var list []*nats.Msg
	for n := p.window.head; n < p.window.tail; n++ {
		s := p.window.at(n)
		if s.done || !which(n, s) {
			continue
		}
		p.sendings++
		p.sent = time.Now()
		s.sent, s.last = p.sent, p.sendings
		list = append(list, &nats.Msg{Subject: s.msg.Subject, Header: s.msg.Header, Data: s.msg.Data, Reply: p.reply(n, s.last)})
	}
	return list
}

// sendAgain sends what is known to have been seen.
func (p *Publisher) sendAgain(messages []*nats.Msg) {
	for _, msg := range messages {
		if p.repeatOn != nil {
			msg.Subject = p.repeatOn(msg.Subject)
		}
	}
	p.send(messages)
}

func (p *Publisher) send(messages []*nats.Msg) {
	for _, msg := range messages {
		if err := p.nc.PublishMsg(msg); err != nil {
			return // not connected; the reconnect sends it
		}
	}
}
