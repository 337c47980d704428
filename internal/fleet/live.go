package fleet

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/broker"
)

// tellLive passes on what happens where no history is kept. What happens while there is no link the hub never hears.
func (u *Uplink) tellLive(ctx context.Context, link broker.Link) error {
	nc := u.Broker.Traffic()
	for _, subject := range u.Local.Watched() {
		sub, err := nc.Subscribe(subject, u.passOn)
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }() // fails if the connection is closed
	}
	u.probe()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-u.answers:
			if m.Header.Get("Status") != "503" {
				u.pulse.beat(time.Now())
			}
		case now := <-tick.C:
			if err := u.keepUp(link, now); err != nil {
				return err
			}
		}
	}
}

// passOn publishes a message for the hub's subscribers.
func (u *Uplink) passOn(m *nats.Msg) {
	subject, ok := u.onHub(m.Subject)
	if !ok {
		return
	}
	_ = u.nc.PublishMsg(&nats.Msg{Subject: subject, Header: u.headerOf(m.Header, ""), Data: m.Data}) // an error means that our own server is ending
}
