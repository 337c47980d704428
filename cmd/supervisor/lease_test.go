package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// askLease makes a lease request.
func askLease(t *testing.T, nc *nats.Conn, request string) (reply ipc.LeaseReply, code string) {
	t.Helper()
	m, err := nc.Request("serial.gps.lease", []byte(request), patience)
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	if len(m.Data) > 0 {
		if err := json.Unmarshal(m.Data, &reply); err != nil {
			t.Fatalf("%s: %v in %s", request, err, m.Data)
		}
	}
	code = m.Header.Get("Nats-Service-Error-Code")
	if reason := m.Header.Get("Nats-Service-Error"); (reason == "") != (code == "") {
		t.Errorf("%s: code %q, error %q", request, code, reason)
	}
	return reply, code
}

// acquire takes a lease and returns its token.
func acquire(t *testing.T, nc *nats.Conn, request string) string {
	t.Helper()
	reply, code := askLease(t, nc, request)
	if code != "" || !reply.Held || reply.Token == "" {
		t.Fatalf("%s: %+v, code %s", request, reply, code)
	}
	return reply.Token
}

// queueFrame queues a frame, with a token if that is not empty.
func queueFrame(t *testing.T, nc *nats.Conn, frame, token string) {
	t.Helper()
	m := &nats.Msg{Subject: "serial.gps.tx", Data: []byte(frame), Header: nats.Header{}}
	if token != "" {
		m.Header.Set("Serial-Lease", token)
	}
	reply, err := nc.RequestMsg(m, patience)
	if err != nil || strings.Contains(string(reply.Data), `"error"`) {
		t.Fatalf("frame %.60q: %v, %v", frame, reply, err)
	}
}

// The holder alone writes, and what others have queued follows in order when the lease ends, however it does.
func TestLease(t *testing.T) {
	for _, c := range []struct {
		how     string
		acquire string
		end     func(t *testing.T, nc *nats.Conn, token string)
	}{
		{"released", `{"action": "acquire", "holder": "lab"}`, func(t *testing.T, nc *nats.Conn, token string) {
			if reply, code := askLease(t, nc, fmt.Sprintf(`{"action": "release", "token": %q}`, token)); code != "" || reply.Held {
				t.Errorf("release: %+v, code %s", reply, code)
			}
		}},
		{"expired", `{"action": "acquire", "holder": "lab", "ttl": "700ms"}`, func(*testing.T, *nats.Conn, string) {}},
		{"disconnected", `{"action": "acquire", "holder": "lab", "alive": "_INBOX.lab.alive"}`, func(_ *testing.T, nc *nats.Conn, _ string) { nc.Close() }},
	} {
		t.Run(c.how, func(t *testing.T) {
			g := startGateway(t)
			lines := g.asked(t, func(line string) string { return "re: " + line + "\n" })
			holder, other := g.connect(t, "send"), g.connect(t, "admin")
			if _, err := holder.SubscribeSync("_INBOX.lab.alive"); err != nil {
				t.Fatal(err)
			}
			token := acquire(t, holder, c.acquire)
			for n := range 3 {
				queueFrame(t, other, fmt.Sprint("other ", n), "")
			}
			if answer, code := ask(t, other, "refused", "Serial-Timeout: 100ms"); code != "423" || answer != "" {
				t.Errorf("another's request: answer %q, code %q", answer, code)
			}
			if answer, code := ask(t, other, "refused", "Serial-Lease: wrong", "Serial-Settle: 10ms"); code != "423" || answer != "" {
				t.Errorf("a request with another token: answer %q, code %q", answer, code)
			}
			queueFrame(t, holder, "holder's", token)
			if answer, code := ask(t, holder, "holder asks", "Serial-Lease: "+token, "Serial-Until: asks$"); code != "" || !strings.HasSuffix(answer, "re: holder asks") {
				t.Errorf("the holder's request: answer %q, code %q", answer, code)
			}
			waitUntil(t, "the holder's frame is written", func() bool { return len(lines()) == 2 })
			g.await(t, "the lease is in the status", func(p portNumbers) bool {
				return p.Lease != nil && p.Lease.Holder == "lab" && time.Until(p.Lease.Expires) > -time.Minute && p.Tx.Queued == 3
			})
			c.end(t, holder, token)
			waitUntil(t, "the others' frames are written", func() bool { return len(lines()) == 5 })
			got := lines()
			if strings.Join(got[2:], ",") != "other 0,other 1,other 2" || !strings.HasPrefix(got[0]+got[1], "holder") {
				t.Errorf("the device has got %q", got)
			}
			if answer, code := ask(t, other, "again"); code != "" || answer == "" {
				t.Errorf("afterwards another's request: answer %q, code %q", answer, code)
			}
			g.await(t, "nothing is left", func(p portNumbers) bool { return p.Lease == nil && p.Tx.Queued == 0 })
		})
	}
}

// Without a queue others' frames are refused, and say who has the lease.
func TestLeaseWithoutQueue(t *testing.T) {
	g := startGateway(t, "queue: none")
	lines := g.asked(t, func(string) string { return "" })
	nc := g.connect(t, "send")
	token := acquire(t, nc, `{"action": "acquire", "holder": "lab"}`)
	m, err := nc.Request("serial.gps.tx", []byte("no"), patience)
	if err != nil || m.Header.Get("Nats-Service-Error-Code") != "423" || !strings.Contains(m.Header.Get("Nats-Service-Error"), "lab has a lease") {
		t.Errorf("another's frame: %v, %v", m, err)
	}
	queueFrame(t, nc, "yes", token)
	waitUntil(t, "the device has the holder's frame", func() bool { return len(lines()) > 0 })
	if got := strings.Join(lines(), ","); got != "yes" {
		t.Errorf("the device has got %s", got)
	}
}

// TestLeaseRequests asks as any NATS client may.
func TestLeaseRequests(t *testing.T) {
	g := startPluggable(t)
	nc := g.connect(t, "send")
	g.unplug(t) // a lease does not depend on the device
	g.awaitState(t, ipc.Missing)
	if reply, code := askLease(t, nc, ""); code != "" || reply != (ipc.LeaseReply{Port: "gps"}) {
		t.Errorf("nobody has it: %+v, %s", reply, code)
	}
	for _, request := range []string{
		`{`, `[]`, `{"colour": "red"}`, `{} {}`, `{"ttl": "30s"}`, `{"action": "steal"}`, `{"action": "acquire", "ttl": "99ms"}`,
		`{"action": "acquire", "ttl": "25h"}`, `{"action": "acquire", "ttl": 30}`, `{"action": "acquire", "holder": "a\nb"}`,
		`{"action": "acquire", "holder": "` + strings.Repeat("x", 65) + `"}`, `{"action": "acquire", "alive": "serial.gps.rx"}`,
		`{"action": "acquire", "alive": "_INBOX.>"}`, `{"action": "acquire", "alive": "_INBOX.nobody"}`,
		`{"action": "acquire", "alive": "_INBOX.` + strings.Repeat("x", 128) + `"}`,
	} {
		if reply, code := askLease(t, nc, request); code != "400" || reply.Held {
			t.Errorf("%s: %+v, code %q, want 400", request, reply, code)
		}
	}
	if _, code := askLease(t, nc, `{"action": "renew", "token": "x"}`); code != "403" {
		t.Errorf("renewed what is not held: code %q", code)
	}
	if _, code := askLease(t, nc, `{"action": "renew"}`); code != "403" {
		t.Errorf("renewed without a token: code %q", code)
	}
	token := acquire(t, nc, `{"action": "acquire", "holder": "lab", "ttl": "1h"}`)
	for request, want := range map[string]string{
		`{"action": "acquire", "holder": "other"}`:                   "423",
		`{"action": "acquire", "holder": "other", "token": "x"}`:     "423",
		`{"action": "release", "token": "x"}`:                        "403",
		`{"action": "release"}`:                                      "403",
		`{"action": "renew", "token": "` + token + `x"}`:             "403",
		`{"action": "show"}`:                                         "",
		`{"action": "renew", "ttl": "2h", "token": "` + token + `"}`: "",
		`{"action": "acquire", "token": "` + token + `"}`:            "",
	} {
		reply, code := askLease(t, nc, request)
		if code != want || !reply.Held || reply.Holder != "lab" || reply.Expires.IsZero() || want != "" && reply.Token != "" {
			t.Errorf("%s: %+v, code %q, want %q", request, reply, code, want)
		}
	}
	for range 2 {
		if reply, code := askLease(t, nc, `{"action": "release", "token": "`+token+`"}`); code != "" || reply.Held {
			t.Errorf("release: %+v, code %q", reply, code)
		}
	}
	if again := acquire(t, nc, `{"action": "acquire"}`); again == token {
		t.Error("the next lease has the same token")
	}
}

// More waits than the writer keeps, and than the queue once handed out: the holder's frames pass all of it, and when the lease
// ends it is written, in order and once.
func TestManyFramesWaitForALease(t *testing.T) {
	g := startGateway(t, "framing: {type: line, max_bytes: 64KiB}", "queue: {storage: file, max_messages: 100000}")
	heard := g.hearUntil("the end\n")
	nc := g.connect(t, "send")
	token := acquire(t, nc, `{"action": "acquire", "ttl": "10m"}`)
	var want, holders strings.Builder
	for n := range 1500 {
		size := 10
		if n >= 1100 {
			size = 60000 // 24 MB
		}
		frame := fmt.Sprintf("other %d %s", n, strings.Repeat("x", size))
		queueFrame(t, nc, frame, "")
		want.WriteString(frame + "\n")
		if n%100 == 0 {
			frame := fmt.Sprint("holder ", n)
			queueFrame(t, nc, frame, token)
			holders.WriteString(frame + "\n")
		}
	}
	g.await(t, "the holder's frames are written", func(p portNumbers) bool { return p.Tx.Frames == 15 && p.Tx.Queued == 1500 })
	queueFrame(t, nc, "the end", "")
	want.WriteString("the end\n")
	if _, code := askLease(t, nc, `{"action": "release", "token": "`+token+`"}`); code != "" {
		t.Fatalf("release: code %s", code)
	}
	wantHeard(t, heard, holders.String()+want.String(), 3*patience)
	g.await(t, "nothing is left", func(p portNumbers) bool { return p.Tx.Frames == 1516 && p.Tx.Queued == 0 })
}

// A frame that is queued in the moment in which a lease ends does not pass those that waited for that.
func TestReleaseKeepsOrder(t *testing.T) {
	g := startGateway(t)
	lines := g.asked(t, func(string) string { return "" })
	holder, other := g.connect(t, "send"), g.connect(t, "send")
	var want []string
	for n := range 200 {
		token := acquire(t, holder, `{"action": "acquire"}`)
		queueFrame(t, other, fmt.Sprint("waits ", n), "")
		released := make(chan struct{})
		go func() {
			defer close(released)
			askLease(t, holder, fmt.Sprintf(`{"action": "release", "token": %q}`, token))
		}()
		queueFrame(t, other, fmt.Sprint("comes ", n), "")
		<-released
		want = append(want, fmt.Sprint("waits ", n), fmt.Sprint("comes ", n))
	}
	waitUntil(t, "all are written", func() bool { return len(lines()) == len(want) })
	if got := lines(); !slices.Equal(got, want) {
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("line %d of the device is %q, not %q", i, got[i], want[i])
			}
		}
	}
}

// A lease survives its writer, however often that is killed: the device gets each frame once, the holder's in the lease and the
// others' after it.
func TestWriterKilledDuringLease(t *testing.T) {
	g := startGateway(t, "queue: {storage: file, max_messages: 1000000}")
	heard := g.hearUntil("the end\n")
	holder, other := g.connect(t, "send"), g.connect(t, "send")
	token := acquire(t, holder, `{"action": "acquire", "ttl": "10m"}`)
	stop := make(chan struct{})
	var group sync.WaitGroup
	var wants [2]strings.Builder
	for i, nc := range []*nats.Conn{holder, other} {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				frame := fmt.Sprintf("%s %d %s", []string{"holder", "other"}[i], n, strings.Repeat("x", n*37%500))
				m := &nats.Msg{Subject: "serial.gps.tx", Data: []byte(frame), Header: nats.Header{}}
				if i == 0 {
					m.Header.Set("Serial-Lease", token)
				}
				if _, err := nc.RequestMsg(m, patience); err != nil {
					t.Error(err)
					return
				}
				wants[i].WriteString(frame + "\n")
			}
		})
	}
	g.killAgainAndAgain(t, "gps/writer", kills(t))
	close(stop)
	group.Wait()
	g.await(t, "the holder's frames are written", func(p portNumbers) bool { return p.Tx.Bytes == uint64(wants[0].Len()) })
	queueFrame(t, other, "the end", "")
	wants[1].WriteString("the end\n")
	if _, code := askLease(t, holder, `{"action": "release", "token": "`+token+`"}`); code != "" {
		t.Fatalf("release: code %s", code)
	}
	g.killAgainAndAgain(t, "gps/writer", 5)
	want := wants[0].String() + wants[1].String()
	wantHeard(t, heard, want, 3*patience)
	g.awaitHistory(t, "file", "serial.gps.sent", want, "")
}

// A lease survives its supervisor, where the service manager keeps the port's memory; its holder has to come back.
func TestLeaseIsHandedOver(t *testing.T) {
	g := newOpenGateway(t)
	g.manager = startManager(t)
	g.run(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		nc := g.connect(t, "send")
		if _, err := nc.SubscribeSync("_INBOX.lab"); err != nil {
			t.Fatal(err)
		}
		token := acquire(t, nc, `{"action": "acquire", "holder": "lab", "alive": "_INBOX.lab"}`)
		if err := g.process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		<-g.ended
		nc.Close()
		g.run(t)
		nc = g.connect(t, "send")
		if answer, code := ask(t, nc, "x", "Serial-Frames: 0"); code != "423" {
			t.Errorf("%s: another's request: answer %q, code %q", signal, answer, code)
		}
		if answer, code := ask(t, nc, "x", "Serial-Frames: 0", "Serial-Lease: "+token); code != "" {
			t.Errorf("%s: the holder's request: answer %q, code %q", signal, answer, code)
		}
		g.await(t, "the lease ends as its holder has not come back", func(p portNumbers) bool { return p.Lease == nil })
	}
}
