package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// setBroker puts the settings of the broker into the config, with a port beside gps.
func (g *gateway) setBroker(t *testing.T, settings string) {
	t.Helper()
	g.write(t, fmt.Sprintf("name: test\nbroker: {%s}\nports: {gps: {device: %s}, other: {device: %s}}\n", settings, g.device.Path(), filepath.Join(g.dir, "other")))
}

// hash is what supervisor passwd makes of a password.
func (g *gateway) hash(t *testing.T, password string) string {
	t.Helper()
	return strings.TrimSpace(string(g.mustRun(t, []byte(password+"\n"), "passwd")))
}

// as connects a user of the config, whose replies come below a prefix of its own.
func (g *gateway) as(t *testing.T, user string, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := g.tryAs(t, user, options...)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func (g *gateway) tryAs(t *testing.T, user string, options ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	url := g.env(t, "tap")["NATS_URL"]
	own := []nats.Option{nats.CustomInboxPrefix("_INBOX_" + user), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}
	nc, err := nats.Connect(url, append(own, options...)...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

// Users of the config get what their role and ports give them, by password or key. A reload changes them: whoever is gone or
// changed is cut off, and nobody else notices.
func TestUsers(t *testing.T) {
	g := newOpenGateway(t)
	var pair struct{ public, seed string }
	if _, err := fmt.Sscanf(string(g.mustRun(t, nil, "nkey")), "nkey: %s\nseed: %s\n", &pair.public, &pair.seed); err != nil {
		t.Fatal(err)
	}
	lab, robot := g.hash(t, "correct horse"), g.hash(t, "battery staple")
	users := func(list ...string) {
		g.setBroker(t, "listen: 127.0.0.1:0, users: ["+strings.Join(list, ", ")+"]")
	}
	tap := "{name: lab, password: " + lab + ", role: tap, ports: [gps]}"
	send := "{name: robot, password: " + robot + ", role: send, ports: [gps]}"
	key := "{name: keyed, nkey: " + pair.public + ", role: tap}"
	users(tap, send, key)
	g.run(t)

	keyed, err := nkeys.FromSeed([]byte(pair.seed))
	if err != nil {
		t.Fatal(err)
	}
	byKey := nats.Nkey(pair.public, keyed.Sign)
	taps := map[string]*nats.Conn{
		"lab": g.as(t, "lab", nats.UserInfo("lab", "correct horse")), "robot": g.as(t, "robot", nats.UserInfo("robot", "battery staple")), "keyed": g.as(t, "keyed", byKey),
	}
	for _, wrong := range []nats.Option{
		nats.UserInfo("lab", "battery staple"), nats.UserInfo("lab", ""), nats.UserInfo("lab", lab), nats.UserInfo("keyed", ""), nats.UserInfo("keyed", pair.public), nats.UserInfo("nobody", "correct horse"),
		nats.Nkey(pair.public, func([]byte) ([]byte, error) { return []byte("not a signature"), nil }),
	} {
		if _, err := g.tryAs(t, "x", wrong); err == nil {
			t.Error("a client with wrong credentials was let in")
		}
	}
	received := map[string]*nats.Subscription{}
	for name, nc := range taps {
		sub, err := nc.SubscribeSync("serial.gps.rx")
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(name, err)
		}
		received[name] = sub
	}
	hear := func(text string, names ...string) {
		t.Helper()
		if _, err := g.device.Write([]byte(text + "\n")); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if m, err := received[name].NextMsg(patience); err != nil || string(m.Data) != text {
				t.Errorf("%s gets %v, %v; want %q\n%s", name, m, err, text, g.errors)
			}
		}
	}
	hear("one", "lab", "robot", "keyed")

	// Rights.
	heard := g.hearUntil("frame\n")
	if m, err := taps["robot"].Request("serial.gps.tx", []byte("frame"), patience); err != nil || !strings.Contains(string(m.Data), `"seq"`) {
		t.Errorf("a user with role send cannot send: %v, %v", m, err)
	}
	wantHeard(t, heard, "frame\n", patience)
	for _, c := range []struct{ user, subject string }{
		{"lab", "serial.gps.tx"}, {"robot", "serial.other.tx"}, {"keyed", "serial.gps.tx"}, {"robot", "serial.supervisor.reload"}, {"lab", "$FORGED.serial.gps.rx"}, {"robot", "$FORGED.serial.gps.rx"},
	} {
		wantDenied(t, taps[c.user], "publish to \""+c.subject+"\"", func(nc *nats.Conn) error {
			return nc.Publish(strings.TrimPrefix(c.subject, "$FORGED."), nil)
		})
	}
	for _, c := range []struct{ user, subject string }{
		{"lab", "serial.other.rx"}, {"lab", "_INBOX_robot.>"}, {"robot", "serial.other.rx"}, {"keyed", "$JS.>"}, {"keyed", ">"},
	} {
		wantDenied(t, taps[c.user], "subscription to \""+c.subject+"\"", func(nc *nats.Conn) error {
			_, err := nc.SubscribeSync(c.subject)
			return err
		})
	}

	js, err := jetstream.New(taps["lab"])
	if err != nil {
		t.Fatal(err)
	}
	kept := jetstream.ConsumerConfig{Durable: "kept", FilterSubject: "serial.gps.>"}
	if c, err := js.CreateConsumer(t.Context(), "SERIAL_HISTORY", kept); err != nil {
		t.Fatal(err)
	} else if m, err := c.Next(); err != nil || !strings.HasPrefix(m.Subject(), "serial.gps.") {
		t.Errorf("the history has %v, %v", m, err)
	}

	// A reload: lab's ports change, keyed is gone, and robot is as before.
	users("{name: lab, password: "+lab+", role: tap, ports: [other]}", send)
	var reply ipc.ReloadReply
	if err := json.Unmarshal(g.mustRun(t, nil, "reload", "--json"), &reply); err != nil || len(reply.Changed) != 1 || reply.Changed[0] != "broker.users" || len(reply.AtNextStart) > 0 {
		t.Errorf("reload answers %+v, %v", reply, err)
	}
	for _, name := range []string{"lab", "keyed"} {
		waitUntil(t, name+" is cut off", taps[name].IsClosed)
	}
	hear("two", "robot")
	if _, err := g.tryAs(t, "keyed", byKey); err == nil {
		t.Error("a user that is gone was let in")
	}
	wantDenied(t, g.as(t, "lab", nats.UserInfo("lab", "correct horse")), "publish to \"$JS.API.CONSUMER.MSG.NEXT.SERIAL_HISTORY.kept\"", func(nc *nats.Conn) error {
		return nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.SERIAL_HISTORY.kept", nc.NewInbox(), nil)
	})
	wantDenied(t, g.as(t, "lab", nats.UserInfo("lab", "correct horse")), "subscription to \"serial.gps.rx\"", func(nc *nats.Conn) error {
		_, err := nc.SubscribeSync("serial.gps.rx")
		return err
	})
	if taps["robot"].Stats().Reconnects > 0 {
		t.Error("a user that did not change was cut off")
	}
	text, err := os.ReadFile(filepath.Join(g.dir, "c.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "correct horse") {
		t.Error("the password is in the config")
	}
}

// wantDenied wants the server to refuse what do does.
func wantDenied(t *testing.T, nc *nats.Conn, what string, do func(*nats.Conn) error) {
	t.Helper()
	denied := make(chan error, 16)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case denied <- err:
		default:
		}
	})
	if err := do(nc); err != nil {
		t.Error(err)
		return
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Error(err)
	}
	select {
	case err := <-denied:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(what)) {
			t.Errorf("%s: %v", what, err)
		}
	default:
		waitUntil(t, what+" is refused", func() bool {
			return nc.LastError() != nil && strings.Contains(strings.ToLower(nc.LastError().Error()), strings.ToLower(what))
		})
	}
}
