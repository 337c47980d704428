package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// asked has the device answer each line that it is sent with what answer says to it, until the test ends. The returned
// function lists the lines.
func (g *gateway) asked(t *testing.T, answer func(line string) string) (lines func() []string) {
	t.Helper()
	var mu sync.Mutex // guards heard
	var heard []string
	ended := make(chan struct{})
	t.Cleanup(func() { _ = g.device.Close(); <-ended })
	go func() {
		defer close(ended)
		var text []byte
		buffer := make([]byte, 4096)
		for {
			n, err := g.device.Read(buffer)
			text = append(text, buffer[:n]...)
			for {
				line, rest, ok := bytes.Cut(text, []byte("\n"))
				if !ok {
					break
				}
				mu.Lock()
				heard = append(heard, string(line))
				mu.Unlock()
				text = rest
				if _, err := g.device.Write([]byte(answer(string(line)))); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), heard...)
	}
}

// ask makes a request with headers "Serial-Timeout: 1s", and returns the answer with its error code.
func ask(t *testing.T, nc *nats.Conn, frame string, headers ...string) (answer, code string) {
	t.Helper()
	m := &nats.Msg{Subject: "serial.gps.request", Data: []byte(frame), Header: nats.Header{}}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		m.Header[name] = []string{value}
	}
	got, err := nc.RequestMsg(m, patience)
	if err != nil {
		t.Fatalf("request %q: %v", frame, err)
	}
	code = got.Header.Get("Nats-Service-Error-Code")
	if reason := got.Header.Get("Nats-Service-Error"); (code == "") != (reason == "") || code != "" && !strings.HasPrefix(reason, "port gps: ") {
		t.Errorf("request %q: code %q, error %q", frame, code, reason)
	}
	return string(got.Data), code
}

// TestManyAskAtOnce has eight clients ask a device that also speaks unasked, while others send to it: each gets its own
// answers. SERIALVISOR_REQUESTS=1000 makes a long run of it.
func TestManyAskAtOnce(t *testing.T) {
	each := 100
	if text := os.Getenv("SERIALVISOR_REQUESTS"); text != "" {
		var err error
		if each, err = strconv.Atoi(text); err != nil {
			t.Fatalf("SERIALVISOR_REQUESTS: %v", err)
		}
	}
	const clients = 8
	for _, queue := range []string{"file", "none"} {
		g := startGateway(t, "queue: "+queue)
		lines := g.asked(t, func(line string) string {
			if n, ok := strings.CutPrefix(line, "ask "); ok {
				return "re: " + n + "\n"
			}
			return ""
		})
		var group sync.WaitGroup
		for c := range clients {
			nc := g.connect(t, "send")
			group.Go(func() {
				for n := range each {
					number := strconv.Itoa(c*each + n)
					m := &nats.Msg{Subject: "serial.gps.request", Data: []byte("ask " + number), Header: nats.Header{"Serial-Timeout": {"10s"}}}
					got, err := nc.RequestMsg(m, patience)
					if err != nil || string(got.Data) != "re: "+number {
						t.Errorf("queue: %s: request %s: %v, %v", queue, number, got, err)
						return
					}
				}
			})
		}
		sender := g.connect(t, "send")
		for n := range each {
			if _, err := sender.Request("serial.gps.tx", []byte("sent "+strconv.Itoa(n)), patience); err != nil {
				t.Errorf("queue: %s: frame %d: %v", queue, n, err)
			}
		}
		group.Wait()
		waitUntil(t, "the device has all", func() bool { return len(lines()) == clients*each+each })
		next := 0
		for _, line := range lines() {
			if n, ok := strings.CutPrefix(line, "sent "); ok {
				if n != strconv.Itoa(next) {
					t.Fatalf("queue: %s: frame %s comes in place of %d", queue, n, next)
				}
				next++
			}
		}
		g.await(t, "all is told", func(p portNumbers) bool { return p.Tx.Frames == uint64(clients*each+each) && p.Tx.Queued == 0 })
		waitUntil(t, "all is stored", func() bool {
			return len(g.stored(t, "serial.gps.sent")) == clients*each+each && len(g.stored(t, "serial.gps.rx")) == clients*each
		})
	}
}

// TestAnswerEnds tries what a request can say of its answer.
func TestAnswerEnds(t *testing.T) {
	g := startGateway(t, `framing: {type: line, delimiter: "\r\n", max_bytes: 64}`, `tx_framing: {type: line, max_bytes: 64}`)
	g.asked(t, func(line string) string {
		time.Sleep(20 * time.Millisecond) // as a device takes its time
		return strings.NewReplacer("|", "\r\n", "{name}", "device").Replace(line)
	})
	nc := g.connect(t, "send")
	for _, c := range []struct {
		frame   string
		headers []string
		answer  string
		code    string
	}{
		{"one|", nil, "one", ""},
		{"one|two|", []string{"Serial-Frames: 2"}, "one\r\ntwo", ""},
		{"|", nil, "", ""},
		{"a|b|OK|c|", []string{"Serial-Until: ^(OK|ERROR)$"}, "a\r\nb\r\nOK", ""},
		{"a|b|OK|", []string{"Serial-Until: ^(OK|ERROR)$", "Serial-Frames: 2"}, "a\r\nb", ""},
		{"a|b|", []string{"Serial-Gap: 50ms"}, "a\r\nb", ""},
		{"a|b|> ", []string{"Serial-Gap: 50ms"}, "a\r\nb\r\n> ", ""},
		{"|", nil, "> ", ""}, // the rest of the prompt's line is a frame of its own
		{"", []string{"Serial-Frames: 0"}, "", ""},
		{strings.Repeat("y", 40) + strings.Repeat("z", 20) + "|", nil, strings.Repeat("y", 40) + strings.Repeat("z", 20), ""},

		{"a|b", []string{"Serial-Frames: 2", "Serial-Timeout: 200ms"}, "a\r\nb", "504"},
		{"|", nil, "b", ""},
		{"", []string{"Serial-Gap: 50ms", "Serial-Timeout: 200ms"}, "", "504"},
		{strings.Repeat("x", 65), nil, "", "400"},
		{"no", []string{"Serial-Timeout: soon"}, "", "400"},
		{"no", []string{"Serial-Until: ("}, "", "400"},
		{"no", []string{"Serial-Timout: 1s"}, "", "400"},
		{"no", []string{"Serial-Flags: odd"}, "", "400"},
	} {
		// What began before a request is no answer to it, so the rests above are.
		if c.answer == "> " || c.answer == "b" && c.code == "" {
			if _, code := ask(t, nc, c.frame, "Serial-Timeout: 100ms"); code != "504" {
				t.Errorf("%q: code %q for a frame that had begun before", c.frame, code)
			}
			continue
		}
		if answer, code := ask(t, nc, c.frame, c.headers...); answer != c.answer || code != c.code {
			t.Errorf("%q %v: answer %q, code %q, want %q, %q", c.frame, c.headers, answer, code, c.answer, c.code)
		}
	}
	for _, sent := range g.stored(t, "serial.gps.sent") {
		if strings.HasPrefix(sent, "no") || strings.HasPrefix(sent, "xxx") {
			t.Errorf("%q was written although it was refused", sent)
		}
	}
}

// With raw framing and a gap the answer is whatever comes until the device is silent, in however many pieces.
func TestAnswerInPieces(t *testing.T) {
	for _, framing := range []string{"raw", "{type: gap, gap: 10ms}", "{type: length, size: 1, offset: 2, extra: 2}"} {
		g := startGateway(t, "framing: "+framing)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			request := make([]byte, 8)
			if n, err := g.device.Read(request); err != nil || !bytes.Equal(request[:n], []byte("\x01\x03\x00\x00\x00\x02\xc4\x0b")) {
				t.Errorf("%s: the device has %x, %v", framing, request[:n], err)
			}
			for _, piece := range []string{"\x01", "\x03\x04", "\x00\x2a\x00\x2b", "\x9b\xea"} {
				if _, err := g.device.Write([]byte(piece)); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * time.Millisecond) // as on a slow line
			}
		}()
		nc := g.connect(t, "send")
		answer, code := ask(t, nc, "\x01\x03\x00\x00\x00\x02\xc4\x0b", "Serial-Gap: 50ms")
		if answer != "\x01\x03\x04\x00\x2a\x00\x2b\x9b\xea" || code != "" {
			t.Errorf("%s: the answer is %x, code %q", framing, answer, code)
		}
		<-ended
	}
}

// A late answer goes to the next request, unless that one settles first.
func TestLateAnswer(t *testing.T) {
	g := startGateway(t)
	g.asked(t, func(line string) string {
		if line == "slow" {
			time.Sleep(300 * time.Millisecond)
		}
		return "re: " + line + "\n"
	})
	nc := g.connect(t, "send")
	if answer, code := ask(t, nc, "slow", "Serial-Timeout: 50ms"); code != "504" || answer != "" {
		t.Errorf("answer %q, code %q", answer, code)
	}
	if answer, code := ask(t, nc, "quick", "Serial-Settle: 600ms"); answer != "re: quick" || code != "" {
		t.Errorf("the next answer is %q, code %q", answer, code)
	}
	waitUntil(t, "the late answer is in the history", func() bool {
		return strings.Join(g.stored(t, "serial.gps.rx"), ",") == "re: slow,re: quick"
	})
}

// Requests that no inbox waits for are served and not answered: the writer publishes nowhere for somebody who may not.
func TestAnswersGoToInboxesAlone(t *testing.T) {
	g := startGateway(t)
	lines := g.asked(t, func(line string) string { return "re: " + line + "\n" })
	nc, tap := g.connect(t, "send"), g.connect(t, "tap")
	all, err := tap.SubscribeSync("serial.*.state")
	if err == nil {
		err = tap.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"serial.gps.state", "serial.gps.tx", "$JS.API.STREAM.PURGE.SERIAL_QUEUE", "serial.gps.request"} {
		if err := nc.PublishRequest("serial.gps.request", reply, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if answer, code := ask(t, nc, "last"); answer != "re: last" || code != "" {
		t.Errorf("answer %q, code %q", answer, code)
	}
	if got := lines(); len(got) != 5 {
		t.Errorf("the device has got %q, want four requests and the last", got)
	}
	if n, _, _ := all.Pending(); n != 0 {
		t.Error("an answer was published where the client may not")
	}
}

// A device that takes nothing: the frame in hand is finished when it does, and told; those in line are not written.
func TestRequestsToAStuckDevice(t *testing.T) {
	g := startGateway(t, "framing: {type: raw, max_bytes: 1000000}")
	nc := g.connect(t, "send")
	big := strings.Repeat("x", 300_000)
	first := make(chan string, 1)
	go func() {
		m, err := nc.RequestMsg(&nats.Msg{Subject: "serial.gps.request", Data: []byte(big), Header: nats.Header{"Serial-Timeout": {"300ms"}}}, patience)
		first <- fmt.Sprint(m.Header.Get("Nats-Service-Error-Code"), err)
	}()
	g.await(t, "some of it is written", func(p portNumbers) bool { return p.Tx.Bytes > 0 })
	if _, code := ask(t, nc, "second", "Serial-Timeout: 100ms"); code != "504" {
		t.Errorf("a request in line: code %q", code)
	}
	if got := <-first; got != "504<nil>" {
		t.Errorf("the first request: %s", got)
	}
	// More than may wait.
	inbox := nats.NewInbox()
	answers, err := nc.SubscribeSync(inbox + ".*")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1100 {
		if err := nc.PublishMsg(&nats.Msg{Subject: "serial.gps.request", Reply: fmt.Sprintf("%s.%d", inbox, n), Data: []byte("many"), Header: nats.Header{"Serial-Timeout": {"5s"}}}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 76 {
		m, err := answers.NextMsg(patience)
		if err != nil || m.Header.Get("Nats-Service-Error-Code") != "503" {
			t.Fatalf("answer %d: %v, %v", n, m, err)
		}
	}
	for range 1024 {
		if m, err := answers.NextMsg(patience); err != nil || m.Header.Get("Nats-Service-Error-Code") != "504" {
			t.Fatalf("a request that waited: %v, %v", m, err)
		}
	}
	var heard bytes.Buffer
	takeAll(t, g, &heard, len(big), 1)
	if heard.String() != big {
		t.Errorf("the device has got %d bytes, want the first frame and no other", heard.Len())
	}
	if answer, code := ask(t, nc, "third", "Serial-Frames: 0"); answer != "" || code != "" {
		t.Errorf("afterwards: answer %q, code %q", answer, code)
	}
}

// A writer that is killed while it waits for an answer answers nobody; its successor does not write the frame again.
func TestWriterKilledDuringRequest(t *testing.T) {
	g := startGateway(t)
	hold := make(chan struct{})
	lines := g.asked(t, func(line string) string {
		if line == "held" {
			<-hold
		}
		return "re: " + line + "\n"
	})
	nc := g.connect(t, "send")
	answered := make(chan error, 1)
	go func() {
		_, err := nc.Request("serial.gps.request", []byte("held"), time.Second)
		answered <- err
	}()
	waitUntil(t, "the device has the request", func() bool { return len(lines()) == 1 })
	g.killAgainAndAgain(t, "gps/writer", 3)
	if err := <-answered; err == nil {
		t.Error("a request was answered by a writer that was killed")
	}
	close(hold)
	waitUntil(t, "its answer is in the history", func() bool { return len(g.stored(t, "serial.gps.rx")) == 1 })
	if got := g.mustRun(t, nil, "request", "gps", "next"); string(got) != "re: next\n" {
		t.Errorf("the next answer is %q", got)
	}
	if got := strings.Join(lines(), ","); got != "held,next" {
		t.Errorf("the device has got %s", got)
	}
	waitUntil(t, "both frames are told", func() bool { return strings.Join(g.stored(t, "serial.gps.sent"), "") == "held\nnext\n" })
}

// A request that waits when the device goes, or the supervisor ends, is told so at once.
func TestRequestWhenThePortCloses(t *testing.T) {
	g := startPluggable(t)
	nc := g.connect(t, "send")
	interrupted := func(frames uint64, end func()) {
		t.Helper()
		answered := make(chan string, 1)
		go func() {
			m, err := nc.RequestMsg(&nats.Msg{Subject: "serial.gps.request", Data: []byte("x"), Header: nats.Header{"Serial-Timeout": {"1m"}}}, patience)
			if err != nil {
				answered <- err.Error()
				return
			}
			answered <- m.Header.Get("Nats-Service-Error-Code")
		}()
		g.await(t, "the frame is written", func(p portNumbers) bool { return p.Tx.Frames == frames })
		end()
		if got := <-answered; got != "503" {
			t.Errorf("the request is answered with %q, want 503", got)
		}
	}
	interrupted(1, func() { g.unplug(t) })
	g.awaitState(t, ipc.Missing)
	waitUntil(t, "nobody answers", func() bool {
		m, err := nc.Request("serial.gps.request", nil, patience)
		if err == nil && m.Header.Get("Nats-Service-Error-Code") != "503" {
			t.Fatalf("without a device: %q %v", m.Data, m.Header)
		}
		return errors.Is(err, nats.ErrNoResponders)
	})
	g.plugIn(t)
	g.awaitState(t, ipc.Open)
	interrupted(2, func() {
		if took := g.stop(t, 0, syscall.SIGTERM); took > stopLimit {
			t.Errorf("it took %s to stop, want at most %s", took, stopLimit)
		}
	})
}
