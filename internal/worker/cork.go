package worker

import (
	"net"
	"sync"

	"github.com/nats-io/nats.go"
)

// Cork lets a worker decide when what it published goes out. Without it the client library has a goroutine of its own
// send, which has to be woken for every frame and comes late; or sends each message by itself, which is too slow for a
// flood. The zero value is ready, and for one connection.
//
//	cork.Hold()
//	publish …        collected in memory
//	cork.Release()   sent at once, in one system call
type Cork struct {
	next nats.CustomDialer

	mu   sync.Mutex // guards all below
	conn net.Conn   // of the connection as it is now
	held bool
	wait []byte
}

// heldLimit is how much is collected before it is sent all the same.
const heldLimit = 64 << 10

// over makes a connection that next opens use the cork.
func (c *Cork) over(next nats.CustomDialer) []nats.Option {
	c.next = next
	return []nats.Option{nats.SetCustomDialer(c), nats.WriteBufferSize(1)}
}

// Dial implements nats.CustomDialer.
func (c *Cork) Dial(network, address string) (net.Conn, error) {
	conn, err := c.next.Dial(network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.wait = conn, nil // what waited for a broken connection is published again by those who need it
	return &corked{conn, c}, nil
}

// Hold begins to collect.
func (c *Cork) Hold() {
	c.mu.Lock()
	c.held = true
	c.mu.Unlock()
}

// Release sends what was collected. An error comes up at the next publish, as the connection is broken.
func (c *Cork) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	_ = c.send()
}

// send must be called with mu held.
func (c *Cork) send() error {
	if len(c.wait) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.wait)
	c.wait = c.wait[:0]
	return err
}

// corked is a connection whose writes pass the cork.
type corked struct {
	net.Conn
	cork *Cork
}

// Write implements net.Conn.
func (c *corked) Write(p []byte) (int, error) {
	c.cork.mu.Lock()
	defer c.cork.mu.Unlock()
	if c.Conn != c.cork.conn {
		return c.Conn.Write(p) // an earlier connection that is being closed
	}
	if !c.cork.held && len(c.cork.wait) == 0 {
		return c.Conn.Write(p)
	}
	c.cork.wait = append(c.cork.wait, p...)
	if !c.cork.held || len(c.cork.wait) >= heldLimit {
		if err := c.cork.send(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
