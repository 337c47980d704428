package worker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func TestCorkKeepsOrderAndHoldsBack(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker did not start in 10 s")
	}
	var cork Cork
	nc, err := nats.Connect(s.ClientURL(), cork.over(tcp{})...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	listener, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	sub, err := listener.SubscribeSync("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Flush(); err != nil {
		t.Fatal(err)
	}
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			if err := nc.Publish("x", []byte(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			m, err := sub.NextMsg(10 * time.Second)
			if err != nil || string(m.Data) != fmt.Sprint(i) {
				t.Fatalf("message %d is %v, %v", i, m, err)
			}
		}
	}
	publish(0, 10)
	expect(0, 10)
	cork.Hold()
	publish(10, 20)
	// The listener's own round trip passes anything that had been sent.
	if err := listener.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := sub.Pending(); n != 0 {
		t.Errorf("%d messages were sent while the cork was held", n)
	}
	cork.Release()
	expect(10, 20)
	cork.Hold()
	if err := nc.Publish("x", []byte(strings.Repeat("y", heldLimit))); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(10 * time.Second); err != nil {
		t.Errorf("more than the limit was held back: %v", err)
	}
	cork.Release()
}

// tcp dials as a worker does without a socket of the supervisor's.
type tcp struct{}

func (tcp) Dial(network, address string) (net.Conn, error) { return net.Dial(network, address) }
