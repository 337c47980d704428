package fleet

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/publish"
)

// A stream that has lost its leader stores nothing for some seconds, and one that is full until somebody makes room. What happens
// meanwhile is told later, in its order, but those who listen on the hub need not wait for that: they are shown it at once, as something
// that no stream may store.

// aside is what passes by a hub's stream.
type aside struct {
	refused bool      // the stream has answered that it takes nothing
	asked   time.Time // when the hub was asked whether it is there
	alive   time.Time // when it said so
	heard   []*nats.Subscription

	mu    sync.Mutex // guards all below
	shows bool
	held  []*nats.Msg // what happened since the stream is silent, until it is known why
	bytes int         // of them
}

// Limits of what is held. It is some two seconds' worth.
const (
	heldMessages = 4 * windowMessages
	heldBytes    = 4 * windowBytes
)

// asideToken is the last token of where that answer comes.
const asideToken = "+"

// settling is how long after that answer the stream may take for its own: they come over different ways.
const settling = 2 * look

// lookAside shows what happens once the stream has said nothing to what it was told since some time, while the hub is there: the answer
// to a question that it got behind that is back, so it is not the link that is slow.
func (s *session) lookAside(now, since time.Time) error {
	a := &s.aside
	if !a.refused && now.Sub(since) <= prompt/2 {
		return nil
	}
	if err := s.listenAside(); err != nil {
		return err
	}
	switch {
	case a.refused:
	case now.Sub(since) <= prompt:
		return nil
	case !a.asked.After(since):
		a.asked = now
		s.question(asideToken)
		return nil
	case !a.alive.After(a.asked) || now.Sub(a.alive) <= settling:
		return nil
	}
	s.beginAside()
	return nil
}

// listenAside begins to hear what happens.
func (s *session) listenAside() error {
	if len(s.aside.heard) > 0 {
		return nil
	}
	for _, subject := range s.Local.Watched() {
		sub, err := s.Broker.Traffic().Subscribe(subject, s.hearAside)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		s.aside.heard = append(s.aside.heard, sub)
	}
	return nil
}

// hearAside shows a message, or keeps it until it is known whether it must be shown.
func (s *session) hearAside(m *nats.Msg) {
	a := &s.aside
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.shows:
		s.show(m)
	case len(a.held) < heldMessages && a.bytes < heldBytes:
		a.held, a.bytes = append(a.held, m), a.bytes+m.Size()
	}
}

// beginAside shows what was held, but for what the hub was told: that was heard there, stored or not.
func (s *session) beginAside() {
	a := &s.aside
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shows {
		return
	}
	s.Log.Debug("the hub's stream stores nothing; those who listen there are shown what happens")
	told := map[string]bool{}
	for _, f := range s.window.flights {
		told[f.header.Get(ipc.HeaderMsgID)] = true
	}
	for _, m := range a.held {
		if id := s.headerOf(m.Header, "").Get(ipc.HeaderMsgID); id == "" || !told[id] {
			s.show(m)
		}
	}
	a.shows, a.held, a.bytes = true, nil, 0
}

// show publishes a message in such a way that even a stream that can store again refuses it. It has no id: a server could remember that all
// the same, and take the message for one that it has when it is told.
func (s *session) show(m *nats.Msg) {
	subject, ok := s.onHub(m.Subject)
	if !ok {
		return
	}
	h := s.headerOf(m.Header, "")
	h[ipc.HeaderUnstored] = []string{h.Get(ipc.HeaderMsgID)}
	delete(h, ipc.HeaderMsgID)
	maps.Copy(h, publish.Question(subject).Header)
	_ = s.nc.PublishMsg(&nats.Msg{Subject: subject, Header: h, Data: m.Data}) // an error means that our own server is ending
}

// endAside is for a stream that stores again.
func (s *session) endAside() {
	a := &s.aside
	for _, sub := range a.heard {
		_ = sub.Unsubscribe() // fails if the connection is closed
	}
	a.refused, a.asked, a.alive, a.heard = false, time.Time{}, time.Time{}, nil
	a.mu.Lock()
	a.shows, a.held, a.bytes = false, nil, 0
	a.mu.Unlock()
}
