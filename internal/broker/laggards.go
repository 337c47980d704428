package broker

import "github.com/nats-io/nats-server/v2/server"

// cutLaggards cuts off the clients for which so much waits that the server drops what else comes for them. It would do so
// without a word; a client that is cut off knows that it has missed something. The server itself could have publishers
// wait for such clients instead, up to 10 ms at a time, and with them everybody else.
func (b *Broker) cutLaggards() {
	connections, err := b.server.Connz(&server.ConnzOptions{Sort: server.ByPending, Limit: 8, Username: true})
	if err != nil {
		return // never, with these options
	}
	for _, c := range connections.Conns {
		// Beyond three quarters of what may wait the server drops.
		if int64(c.Pending) <= b.maxPending()/4*3 {
			return
		}
		b.opts.Log.Warn("a client that does not keep up is cut off", "user", c.AuthorizedUser, "address", c.IP, "name", c.Name, "waiting_bytes", c.Pending)
		b.cutOff.Add(1)
		_ = b.server.DisconnectClientByID(c.Cid) // an error means that it has left
	}
}

// maxPending is how much may wait for a client.
func (b *Broker) maxPending() int64 { return int64(max(server.MAX_PENDING_SIZE, 4*b.opts.MaxFrame)) }
