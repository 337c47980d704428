package client

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Guards exports against the end of their consumer: a store that is started again, as the supervisor mends it, has forgotten
// it.
func TestExportGoesOnWithAnotherConsumer(t *testing.T) {
	dir := t.TempDir()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the broker does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SERIAL_HISTORY", Subjects: []string{"serial.gps.rx"}}); err != nil {
		t.Fatal(err)
	}
	const messages = 3000 // more than are fetched in advance
	for n := range messages {
		if _, err := js.PublishAsync("serial.gps.rx", fmt.Append(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("the messages are not stored")
	}
	stream, err := js.Stream(t.Context(), "SERIAL_HISTORY")
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	err = readStored(t.Context(), stream, []string{"serial.gps.rx"}, 0, func(m jetstream.Msg, _ time.Time) error {
		if got, want := string(m.Data()), fmt.Sprint(next); got != want {
			t.Fatalf("message %s comes in place of %s", got, want)
		}
		if next++; next == 1 || next == messages/2 {
			if err := s.DisableJetStream(); err != nil {
				t.Fatal(err)
			}
			if err := s.EnableJetStream(&server.JetStreamConfig{StoreDir: dir}); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	})
	if err != nil || next != messages {
		t.Errorf("%d messages of %d were passed: %v", next, messages, err)
	}
}
