package publish

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// asked stands for the number of a message in a question to the stream.
const asked = math.MaxUint64

// reply is where the answer to a message is sent: <inbox>.<number of the message>, and when it is sent again -<which of
// all sendings it is>.
func (p *Publisher) reply(n, sending uint64) string {
	b := append(make([]byte, 0, len(p.prefix)+41), p.prefix...)
	b = strconv.AppendUint(b, n, 10)
	if sending > 0 {
		b = strconv.AppendUint(append(b, '-'), sending, 10)
	}
	return string(b)
}

// parseReply is the counterpart of reply.
func (p *Publisher) parseReply(subject string) (n, sending uint64, ok bool) {
	number, which, again := strings.Cut(strings.TrimPrefix(subject, p.prefix), "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err == nil && again {
		sending, err = strconv.ParseUint(which, 10, 64)
	}
	return n, sending, err == nil
}

// acknowledge takes the stream's answer: a PubAck, an error in its place, or the server's word that no stream listens.
func (p *Publisher) acknowledge(m *nats.Msg) {
	n, sending, ok := p.parseReply(m.Subject)
	if !ok {
		return
	}
	problem := refusal(m)
	switch {
	case problem == "":
		p.settle(n, sending)
		return
	case n == asked && strings.Contains(problem, wrongLast):
		p.mu.Lock()
		p.passed = max(p.passed, sending)
		p.mu.Unlock()
		notify(p.again)
		return
	}
	if strings.Contains(problem, tooLarge) {
		p.log.Error("a message is too long for its stream and is lost", "error", problem)
		p.refuse(n, true)
		return
	}
	// The message stays in the window and is sent again.
	p.mu.Lock()
	now := time.Now()
	first := !p.failing && now.Sub(p.complained) > warnEvery // one that has too much to do refuses and stores by turns
	if first {
		p.failing, p.complained = true, now
	}
	p.mu.Unlock()
	if first {
		p.log.Warn("a stream does not store, trying again", "error", problem)
	}
}

// tooLarge marks the refusal that no further attempt would change: JSStreamMessageExceedsMaximum.
const tooLarge = `"err_code":10054`

// wrongLast marks the answer to a question: JSStreamWrongLastSequence.
const wrongLast = `"err_code":10071`

// refusal is what a stream's answer says against storing the message, or empty. Looking for the key saves decoding
// every answer: a stream's name, the other text in a PubAck, has no quotes.
func refusal(m *nats.Msg) string {
	switch {
	case len(m.Data) == 0:
		return "no stream listens on the subject"
	case bytes.Contains(m.Data, []byte(`"error"`)):
		return string(m.Data)
	}
	return ""
}

// settle notes that the stream has stored a message, as its first sending or a later one.
func (p *Publisher) settle(n, sending uint64) {
	p.mu.Lock()
	recovered := p.failing
	p.failing = false
	now := time.Now()
	p.heard = now
	if !p.window.has(n) {
		p.storedLate(n)
		p.mu.Unlock()
		return
	}
	switch s := p.window.at(n); sending {
	case 0:
		p.answered = max(p.answered, s.first)
		p.inTime(s.came, now)
	case s.last:
		p.answered = max(p.answered, s.last)
		p.inTime(s.sent, now)
	default:
		p.answered = max(p.answered, sending)
	}
	mark, moved := p.window.settle(n)
	if moved {
		p.stored(mark)
	}
	lost := !p.window.empty() && p.isLost(p.window.head, p.window.at(p.window.head), now)
	p.mu.Unlock()
	if recovered {
		p.log.Info("the stream stores again")
	}
	if moved {
		notify(p.space)
	}
	if lost {
		notify(p.again)
	}
}

// refuse notes that no stream will ever store a message, and counts it as lost if nobody else learns of it.
func (p *Publisher) refuse(n uint64, count bool) {
	p.mu.Lock()
	if count && p.lost != nil && p.window.has(n) {
		p.lost(1)
	}
	mark, moved := p.window.settle(n)
	if moved {
		p.stored(mark)
	}
	p.mu.Unlock()
	if moved {
		notify(p.space)
	}
}
