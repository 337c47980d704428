package ipc

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Connect opens a connection to the broker that lasts until it is closed: a broken one is made again for ever. What is
// published while it is broken is refused rather than kept, as those who must know keep it themselves.
func (c Credentials) Connect(name string, options ...nats.Option) (*nats.Conn, error) {
	base := []nats.Option{
		nats.Name(name), nats.UserInfo(c.User, c.Password), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
	}
	if c.InboxPrefix != "" {
		base = append(base, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	nc, err := nats.Connect(c.URL, append(base, options...)...)
	if err != nil {
		as := "without a user"
		if c.User != "" {
			as = "as " + c.User
		}
		return nil, fmt.Errorf("connect to broker %s %s: %w", c.URL, as, err)
	}
	return nc, nil
}
