package publish

import (
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// A stream takes messages in the order in which they were sent, and answers in that order. So one that has no answer is
// lost for certain when a later one has: it was refused, or dropped when the store failed. Without that there is nothing
// to tell lost ones from those that a slow stream will come to. To send these again would only make it slower, and it might store
// them twice: it remembers ids for a few seconds. New messages show how things are; when there are none, and no answers either,
// the stream is asked a question, see Question: its answer is behind those to all that was sent before. Then the oldest message
// alone is sent again, as an answer to a question does not show that the stream stores.

// repeat sends again, in order, what the stream has lost, or asks it.
func (p *Publisher) repeat() {
	now := time.Now()
	p.mu.Lock()
	quiet := p.asks || now.Sub(p.sent) > p.patience && now.Sub(p.heard) > p.patience
	p.asks = false
	again := p.pick(func(n uint64, s *slot) bool { return p.isLost(n, s, now) })
	if len(again) == 0 && quiet {
		again = p.probe(now)
	}
	p.mu.Unlock()
	p.sendAgain(again)
}

// ask probes a stream that the oldest message has waited for for long.
func (p *Publisher) ask() {
	now := time.Now()
	var probe []*nats.Msg
	p.mu.Lock()
	if !p.window.empty() && now.Sub(p.window.at(p.window.head).came) > p.patience {
		probe = p.probe(now)
	}
	p.mu.Unlock()
	p.sendAgain(probe)
}

// probe is what shows how things are: a question, or the oldest message where there is no subject to ask on. It must be called with
// mu held.
func (p *Publisher) probe(now time.Time) []*nats.Msg {
	switch {
	case p.window.empty():
		return nil
	case p.repeatOn == nil:
		return p.pick(func(n uint64, _ *slot) bool { return n == p.window.head })
	}
	p.sendings++
	p.sent = now
	q := Question(p.window.at(p.window.head).subject)
	q.Reply = p.reply(asked, p.sendings)
	return []*nats.Msg{q}
}

// Question makes a message that a stream with that subject answers, with an error and once it has seen to all that came before,
// and that it never stores: it says that the stream has as many messages as none ever has.
func Question(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{nats.ExpectedLastSeqHdr: {strconv.FormatInt(math.MaxInt64, 10)}}}
}

// isLost says whether a message that has no answer will not get one. It must be called with mu held.
func (p *Publisher) isLost(n uint64, s *slot, now time.Time) bool {
	return now.Sub(s.sent) > haste && (s.last < p.answered || s.last < p.passed && n == p.window.head)
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
		m := s.message()
		m.Reply = p.reply(n, s.last)
		list = append(list, m)
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
