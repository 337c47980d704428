package fleet

import (
	"fmt"
	"maps"
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
	shows   []*nats.Subscription
}

// asideToken is the last token of where that answer comes.
const asideToken = "+"

// settling is how long after that answer the stream may take for its own: they come over different ways.
const settling = 2 * look

// lookAside shows what happens once the stream has said nothing to what it was told since some time, while the hub is there: the answer
// to a question that it got behind that is back, so it is not the link that is slow.
func (s *session) lookAside(now, since time.Time) error {
	a := &s.aside
	switch {
	case len(a.shows) > 0 || !a.refused && now.Sub(since) <= prompt:
		return nil
	case !a.refused && !a.asked.After(since):
		a.asked = now
		s.question(asideToken)
		return nil
	case !a.refused && (!a.alive.After(a.asked) || now.Sub(a.alive) <= settling):
		return nil
	}
	s.Log.Debug("the hub's stream stores nothing; those who listen there are shown what happens")
	for _, subject := range s.Local.Watched() {
		sub, err := s.Broker.Traffic().Subscribe(subject, s.show)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		a.shows = append(a.shows, sub)
	}
	return nil
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
	for _, sub := range s.aside.shows {
		_ = sub.Unsubscribe() // fails if the connection is closed
	}
	s.aside = aside{}
}
