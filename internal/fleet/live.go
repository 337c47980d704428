package fleet

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
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
			if !u.Broker.LinkUp(link) {
				return errLost
			}
			if u.pulse.over(now) {
				return errSilent
			}
			if u.pulse.due(now) {
				u.probe()
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
	out := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: m.Data}
	for key, values := range m.Header {
		out.Header[key] = values
	}
	if id := m.Header.Get(ipc.HeaderMsgID); id != "" {
		out.Header[ipc.HeaderMsgID] = []string{u.Hub.Name + "." + id}
	}
	_ = u.nc.PublishMsg(out) // an error means that our own server is ending
}
