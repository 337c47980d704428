package worker

import (
	"fmt"
	"net"
	"os"

	"github.com/nats-io/nats.go"
)

// lentSocket opens a connection to the broker: the first over the socket that the supervisor has lent, any further one
// over TCP.
type lentSocket struct {
	fd   int
	used bool
}

// Dial implements nats.CustomDialer.
func (s *lentSocket) Dial(network, address string) (net.Conn, error) {
	if s.used {
		return net.DialTimeout(network, address, nats.DefaultTimeout)
	}
	s.used = true
	f := os.NewFile(uintptr(s.fd), "broker")
	defer func() { _ = f.Close() }() // FileConn has its own
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("socket to the broker on descriptor %d: %w", s.fd, err)
	}
	return conn, nil
}
