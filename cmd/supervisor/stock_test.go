package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// env is what supervisor env prints.
func (g *gateway) env(t *testing.T, role string) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, m := range regexp.MustCompile(`(NATS_[A-Z]+)='?([^'\s]*)'?`).FindAllStringSubmatch(string(g.mustRun(t, nil, "env", "--role", role)), -1) {
		env[m[1]] = m[2]
	}
	return env
}

// connect is a program that knows NATS and nothing of serialvisor: it has what supervisor env prints.
func (g *gateway) connect(t *testing.T, role string, options ...nats.Option) *nats.Conn {
	t.Helper()
	env := g.env(t, role)
	nc, err := nats.Connect(env["NATS_URL"], append(options, nats.UserInfo(env["NATS_USER"], env["NATS_PASSWORD"]))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestStockClient taps, sends and replays with a NATS client and the contract alone.
func TestStockClient(t *testing.T) {
	g := startGateway(t)
	tap, sender := g.connect(t, "tap"), g.connect(t, "send")
	received, err := tap.SubscribeSync("serial.gps.rx")
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.device.Write([]byte("a \x00\xff line\r\n")); err != nil {
		t.Fatal(err)
	}
	live, err := received.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if string(live.Data) != "a \x00\xff line\r" || live.Header.Get("Serial-Offset") != "0" || live.Header.Get("Nats-Msg-Id") == "" {
		t.Errorf("received %q with %v", live.Data, live.Header)
	}

	reply, err := sender.Request("serial.gps.tx", []byte("hello"), patience)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(reply.Data), `"stream":"SERIAL_QUEUE"`) {
		t.Errorf("the answer to a frame is %s", reply.Data)
	}
	got := make([]byte, len("hello\n"))
	if n, err := g.device.Read(got); err != nil || string(got[:n]) != "hello\n" {
		t.Errorf("the device has %q, %v", got[:n], err)
	}

	js, err := tap.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := js.SubscribeSync("serial.gps.rx", nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	again, err := stored.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if string(again.Data) != string(live.Data) || again.Header.Get("Nats-Msg-Id") != live.Header.Get("Nats-Msg-Id") {
		t.Errorf("the history has %q with %v, want %q with %v", again.Data, again.Header, live.Data, live.Header)
	}
}

// TestTapMayNotSend tries what only a sender may, with a stock client.
func TestTapMayNotSend(t *testing.T) {
	g := startGateway(t)
	refused := make(chan error, 1)
	tap := g.connect(t, "tap", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for subject, data := range map[string]string{"serial.gps.tx": "no", "serial.gps.request": "no", "serial.gps.lease": `{"action": "acquire"}`, "serial.gps.control": `{"baud": 1200}`} {
		if err := tap.Publish(subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := tap.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: the broker said %v, want a permission violation", subject, err)
		}
	}
	if baud := g.mustRun(t, nil, "control", "gps", "baud"); string(baud) != "baud=115200\n" {
		t.Errorf("the port has %s", baud)
	}
	g.mustRun(t, []byte("yes"), "send", "gps", "-", "--wait")
	got := make([]byte, 64)
	if n, err := g.device.Read(got); err != nil || string(got[:n]) != "yes\n" {
		t.Errorf("the device has %q, %v, want the sender's frame alone", got[:n], err)
	}
}
