package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Figures are what passes through the server since it started. Nothing that they come from waits for a disk.
type Figures struct {
	Accounts      []AccountFigures
	SlowConsumers uint64 // clients that were cut off, as they did not keep up
}

// Clients stands in figures for the accounts of all who are not the gateway's own processes.
const Clients Account = "CLIENTS"

// AccountFigures are what passes through one account.
type AccountFigures struct {
	Account       Account
	Connections   int
	Subscriptions uint32
	Received      server.MsgBytes // from clients
	Sent          server.MsgBytes // to clients
}

// Figures reads them.
func (b *Broker) Figures() Figures {
	f := Figures{SlowConsumers: b.laggards.total()}
	own := []string{string(Traffic), string(Control)}
	stats, err := b.server.AccountStatz(&server.AccountStatzOptions{Accounts: append(own, b.homeNames()...), IncludeUnused: true})
	if err != nil {
		return f // never, with these options
	}
	clients := AccountFigures{Account: Clients}
	for _, a := range stats.Accounts {
		if slices.Contains(own, a.Account) {
			f.Accounts = append(f.Accounts, AccountFigures{Account(a.Account), a.Conns, a.NumSubs, a.Received.MsgBytes, a.Sent.MsgBytes})
			continue
		}
		clients.Connections += a.Conns
		clients.Subscriptions += a.NumSubs
		clients.Received = sum(clients.Received, a.Received.MsgBytes)
		clients.Sent = sum(clients.Sent, a.Sent.MsgBytes)
	}
	f.Accounts = append(f.Accounts, clients)
	return f
}

func sum(a, b server.MsgBytes) server.MsgBytes {
	return server.MsgBytes{Msgs: a.Msgs + b.Msgs, Bytes: a.Bytes + b.Bytes}
}

// HistoryFigures say how much the history holds.
type HistoryFigures struct {
	Messages, Bytes uint64
	First, Last     time.Time // when the oldest and the newest message were stored; zero: there is none
	LastSequence    uint64
}

// HistoryFigures asks the store. Without a history there is nothing in it.
func (b *Broker) HistoryFigures(ctx context.Context) (f HistoryFigures, err error) {
	if b.HistoryStream() == "" {
		return f, nil
	}
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	s, err := b.historyStream(ctx)
	if err != nil {
		return f, err
	}
	state := s.CachedInfo().State
	f = HistoryFigures{Messages: state.Msgs, Bytes: state.Bytes, LastSequence: state.LastSeq}
	if state.Msgs > 0 {
		f.First, f.Last = state.FirstTime, state.LastTime
	}
	return f, nil
}

// Answers returns an error if the server does not answer the supervisor itself within a limit.
func (b *Broker) Answers(limit time.Duration) error {
	if err := b.control.FlushTimeout(limit); err != nil {
		return fmt.Errorf("the broker does not answer: %w", err)
	}
	return nil
}
