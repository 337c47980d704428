package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// lastWords is how long after the end of everything else the hub may take to hear of it.
const lastWords = 500 * time.Millisecond

// session is one stretch of telling the hub, over one link.
type session struct {
	*Uplink
	link     broker.Link
	next     uint64    // sequence that is expected
	trouble  bool      // the hub has refused, or lost, what it was told: nothing new is sent until it takes that
	since    time.Time // when that began
	reason   string    // why, if the hub has said it
	retry    time.Time // when the first is sent again
	pause    time.Duration
	answered time.Time // when the stream last answered, or our own server for it
	heard    time.Time // when the stream did
	waits    time.Time // since when there always was something that it had not answered
	aside    aside
}

// follow tells the hub what it lacks and then what happens, until the link is lost, or ctx ends.
func (u *Uplink) follow(ctx context.Context, link broker.Link) error {
	if u.Broker.HistoryStream() == "" {
		return u.tellLive(ctx, link)
	}
	u.renew.Store(false)
	place, err := u.Broker.HistoryPlace(ctx)
	if err != nil {
		return err
	}
	stored, known, err := u.ask(ctx, place)
	if err != nil {
		if u.pulse.over(time.Now()) {
			return errSilent
		}
		return err
	}
	u.well()
	now := time.Now()
	s := &session{Uplink: u, link: link, next: stored + 1, answered: now, heard: now, waits: now}
	defer s.endAside()
	switch {
	case !known:
		s.next = max(place.First, 1)
		stored = s.next - 1
	case stored > place.Last:
		u.Log.Warn("the hub has more of the history than there is: its end was lost with the power", "hub", stored, "here", place.Last)
		s.next = place.Last + 1
	}
	u.window.keep(stored, now)
	if !known {
		u.left = nil
	} else if from := u.resume(stored); from < stored {
		stored, s.next = from, from+1
	}
	defer u.keepGap()
	if w := u.window.waiting(); len(w) > 0 {
		u.note(w[0].seq - 1)
		s.beTroubled("")
	} else {
		u.note(stored)
	}
	return s.run(ctx)
}

// run sends what comes from the history.
func (s *session) run(ctx context.Context) error {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	messages, failed, end, err := s.read(ctx, reading)
	if err != nil {
		stop()
		return err
	}
	defer func() { stop(); end() }()
	tick := time.NewTicker(look)
	defer tick.Stop()
	ending, late, last := ctx.Done(), (<-chan time.Time)(nil), uint64(0)
	for {
		var in <-chan jetstream.Msg // nil: none is taken
		if !s.trouble && s.window.open(time.Now()) {
			in = messages
		}
		if last > 0 && len(s.window.flights) == 0 && s.next > last {
			return nil
		}
		select {
		case <-ending:
			ending, late = nil, time.After(lastWords)
			last = s.newestHere(reading)
		case <-late:
			return nil
		case err := <-failed:
			return err
		case m := <-in:
			err = s.tell(m)
		case m := <-s.answers:
			s.hear(m)
		case <-tick.C:
			err = s.lookAfter(time.Now())
		}
		if err != nil {
			return err
		}
	}
}

// newestHere is the last sequence of the history, at least 1; 0 if it does not say at once.
func (s *session) newestHere(ctx context.Context) uint64 {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	place, err := s.Broker.HistoryPlace(ctx)
	if err != nil {
		return 0
	}
	return max(place.Last, 1)
}

// read reads the history from where the hub stands, until reading ends; then end must be called.
func (s *session) read(ctx, reading context.Context) (messages <-chan jetstream.Msg, failed <-chan error, end func(), err error) {
	js, err := jetstream.New(s.Broker.Traffic())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the history: %w", err)
	}
	consumer, err := js.OrderedConsumer(ctx, s.Broker.HistoryStream(), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.next,
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the history: %w", err)
	}
	all, err := consumer.Messages(jetstream.PullMaxMessages(windowMessages))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the history: %w", err)
	}
	out, problem, over := make(chan jetstream.Msg), make(chan error, 1), make(chan struct{})
	go func() { // end waits for it
		defer close(over)
		for {
			m, err := all.Next(jetstream.NextContext(reading))
			if err != nil {
				problem <- fmt.Errorf("the history: %w", err)
				return
			}
			select {
			case out <- m:
			case <-reading.Done():
				return
			}
		}
	}()
	return out, problem, func() { all.Stop(); <-over }, nil
}

// tell sends a message for the first time. Never over another link than the one of this session: what was lost with that must
// come first.
func (s *session) tell(m jetstream.Msg) error {
	f, err := s.flightOf(m)
	if err != nil {
		return err
	}
	if f.seq > s.next {
		if n := f.seq - s.next - s.left.forget(s.next, f.seq); n > 0 {
			s.Log.Warn("the history has not kept what the hub lacks; it is lost for the hub", "messages", n, "remedy", "a larger history.max_bytes or history.max_age")
			s.giveUp(n)
		}
	}
	s.next = f.seq + 1
	if f.subject == "" || s.left.has(f.seq) {
		return nil
	}
	if !s.Broker.LinkUp(s.link) {
		return errLost
	}
	if len(s.window.flights) == 0 {
		s.waits = time.Now()
	}
	s.window.push(f)
	s.mark(f)
	return s.send(f)
}

func (s *session) send(f *flight) error {
	f.sent, f.refused = time.Now(), false
	m := &nats.Msg{Subject: f.subject, Reply: s.Hub.Inbox() + ".told." + strconv.FormatUint(f.seq, 36), Header: f.header, Data: f.data}
	if err := s.nc.PublishMsg(m); err != nil {
		return fmt.Errorf("tell the hub: %w", err)
	}
	return nil
}

// hear takes an answer of the hub.
func (s *session) hear(m *nats.Msg) {
	now := time.Now()
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	nobody := m.Header.Get("Status") == "503" // as our own server says
	if !nobody {
		s.pulse.beat(now)
	}
	switch {
	case token == probeToken:
		return
	case token == asideToken:
		if !nobody {
			s.aside.alive = now
		}
		return
	case nobody:
		s.answered = now
		s.beTroubled("nobody on the hub stores " + s.Hub.Root + ".>: it has no such stream, or no leader for it at the moment, or does not let the gateway publish there; docs/fleet.md has what it needs")
		return
	}
	seq, err := strconv.ParseUint(token, 36, 64)
	f := s.window.find(seq)
	if err != nil || f == nil {
		return
	}
	s.answered, s.heard = now, now
	var ack struct {
		Error *nats.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return // it is none
	}
	if e := ack.Error; e != nil {
		if !never(e) {
			f.refused, s.aside.refused = true, true
			s.beTroubled(fmt.Sprintf("the hub's stream %s refuses: %s (code %d); see to its limits, it goes on by itself", s.Stream, e.Description, e.ErrorCode))
			return
		}
		s.Log.Warn("the hub does not take a message; it is lost for the hub", "subject", f.subject, "bytes", len(f.data), "reason", e.Description)
		s.giveUp(1)
	}
	s.settle(f, now)
}

// never says whether a refusal stands for ever: the message is longer than the stream takes.
func never(e *nats.APIError) bool { return e.ErrorCode == 10054 }

// settle notes that the hub has a message. When it was the one that it would not take, the others follow.
func (s *session) settle(f *flight, now time.Time) {
	s.endAside()
	s.left.forget(f.seq, f.seq+1)
	last := s.window.settle(f, now)
	if last == nil {
		return
	}
	s.note(last.seq)
	s.recent = flight{seq: last.seq, subject: last.subject}
	if !s.trouble {
		return
	}
	s.trouble, s.pause = false, 0
	s.well()
	for _, f := range s.window.waiting() {
		s.again(f)
	}
}

// mark says in a message up to where the hub has all with it, if it has later ones.
func (s *session) mark(f *flight) {
	delete(f.header, ipc.HeaderHistoryUpTo)
	if upTo := max(s.window.upTo(f), s.left.upTo(f.seq)); upTo > f.seq {
		f.header[ipc.HeaderHistoryUpTo] = []string{strconv.FormatUint(upTo, 10)}
	}
}

// again sends a message once more, in its order.
func (s *session) again(f *flight) {
	s.mark(f)
	if err := s.send(f); err != nil {
		s.beTroubled(err.Error())
	}
}

// beTroubled has nothing new be sent until the hub has what it was told. What it is about to answer it shall answer first.
func (s *session) beTroubled(reason string) {
	if reason != "" {
		s.reason = reason
	}
	if !s.trouble {
		s.trouble, s.since, s.retry = true, time.Now(), time.Now().Add(prompt)
	}
}

const (
	// patience is how long the hub may say nothing to what it was told until it is told again, and trouble may last untold.
	patience = 5 * time.Second
	// brief is how long trouble may last for the first to be sent again each second: a stream elects another leader in less.
	brief = 15 * time.Second
)

// lookAfter sees to what is due.
func (s *session) lookAfter(now time.Time) error {
	if err := s.keepUp(s.link, now); err != nil {
		return err
	}
	if s.renew.Load() {
		return errRenew
	}
	if s.left.closed(s.next) {
		s.left = nil
	}
	s.keepGap()
	waiting := s.window.waiting()
	if len(waiting) == 0 {
		s.trouble = false
		return nil
	}
	if err := s.lookAside(now, later(s.heard, s.waits)); err != nil {
		return err
	}
	first := waiting[0]
	if !s.trouble && (s.window.passed(now) || now.Sub(first.sent) > patience && now.Sub(s.answered) > patience) {
		s.beTroubled("the hub's stream does not answer")
		s.retry = now
	}
	if !s.trouble {
		return nil
	}
	if now.Sub(s.since) > patience && s.reason != "" {
		s.complain(errors.New(s.reason))
	}
	if now.After(s.retry) && (s.pause > 0 || now.Sub(s.answered) >= prompt) {
		longest := patience
		if now.Sub(s.since) < brief {
			longest = time.Second
		}
		s.pause = min(max(2*s.pause, 2*look), longest)
		s.retry = now.Add(s.pause)
		s.again(first)
	}
	return nil
}

// probeToken is the last token of where the answer to a question comes that only shows that the hub lives.
const probeToken = "-"

// probe asks the hub for a message that it does not have.
func (u *Uplink) probe() { u.question(probeToken) }

// question asks the hub for a message that it does not have; the answer comes to where a last token says.
func (u *Uplink) question(token string) {
	// An error means that our own server is ending.
	_ = u.nc.PublishRequest(u.directGet(u.nothing()), u.Hub.Inbox()+".told."+token, nil)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
