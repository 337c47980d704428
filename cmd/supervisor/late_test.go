package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// Guards what comes after a request whose writer is killed, alone or with its supervisor, while the device takes its time:
// nothing is written before it has answered, and the answer is given to nobody else.
func TestLateAnswerToAKilledWriter(t *testing.T) {
	for _, c := range []struct {
		queue, victim, terms, answer string
	}{
		{"file", "writer", "", "late\n"},
		{"none", "writer", "Serial-Until: ^OK$", "late\nOK\n"},
		{"file", "supervisor", "Serial-Frames: 2", "late\nOK\n"},
		{"none", "supervisor", "Serial-Gap: 300ms", "late\nOK\n\n"},
	} {
		device, err := simulator.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = device.Close() })
		g := newGateway(t, device.Path(), "queue: "+c.queue)
		g.device, g.manager = device, startManager(t)
		g.run(t)
		lines := g.asked(t, func(line string) string {
			switch line {
			case "slow":
				time.Sleep(2 * time.Second)
				if s, err := g.status(); err != nil || s.Ports[0].Tx.Frames != 1 {
					t.Errorf("%q: another frame was written before the device has answered, or the status is not known: %v", c, err)
				}
				return c.answer
			case "frame":
				return ""
			}
			return "re: " + line + "\n"
		})
		nc := g.connect(t, "send")
		m := &nats.Msg{Subject: "serial.gps.request", Reply: nats.NewInbox(), Data: []byte("slow"), Header: nats.Header{"Serial-Timeout": {"1m"}}}
		if c.terms != "" {
			name, value, _ := strings.Cut(c.terms, ": ")
			m.Header[name] = []string{value}
		}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		g.await(t, "the frame is written", func(p portNumbers) bool { return p.Tx.Frames == 1 })
		if c.victim == "writer" {
			g.killAgainAndAgain(t, "gps/writer", 1)
		} else {
			if err := g.process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-g.ended
			g.run(t)
			nc = g.connect(t, "send")
		}
		waitUntil(t, "there is a writer", func() bool {
			m, err := nc.RequestMsg(&nats.Msg{Subject: "serial.gps.request", Header: nats.Header{"Serial-Nothing": {"x"}}}, time.Second)
			return err == nil && m.Header.Get("Nats-Service-Error-Code") == "400"
		})
		if err := nc.Publish("serial.gps.tx", []byte("frame")); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"one", "two"} {
			if answer, code := ask(t, nc, line, "Serial-Timeout: 20s"); answer != "re: "+line || code != "" {
				t.Errorf("%q: the answer to %s is %q, code %q", c, line, answer, code)
			}
		}
		waitUntil(t, "the device has all", func() bool { return len(lines()) == 4 })
		if got := lines(); got[0] != "slow" {
			t.Errorf("%q: the device has got %q", c, got)
		}
	}
}

// Guards what comes after a request that was given up while the device took nothing: its frame is written in the end, and its
// answer is given to nobody else.
func TestLateAnswerToAFrameGivenUp(t *testing.T) {
	g := startGateway(t, "framing: {type: line, max_bytes: 1000000}")
	nc := g.connect(t, "send")
	if _, code := ask(t, nc, strings.Repeat("x", 300_000), "Serial-Timeout: 300ms"); code != "504" {
		t.Errorf("code %q", code)
	}
	next := make(chan string, 1)
	go func() {
		m, err := nc.RequestMsg(&nats.Msg{Subject: "serial.gps.request", Data: []byte("next"), Header: nats.Header{"Serial-Timeout": {"20s"}}}, patience)
		if err != nil {
			next <- err.Error()
			return
		}
		next <- string(m.Data) + m.Header.Get("Nats-Service-Error")
	}()
	g.asked(t, func(line string) string {
		time.Sleep(100 * time.Millisecond) // as a device takes its time
		return "re: " + line[:4] + "\n"
	})
	if got := <-next; got != "re: next" {
		t.Errorf("the next answer is %q", got)
	}
	waitUntil(t, "both answers are in the history", func() bool {
		return strings.Join(g.stored(t, "serial.gps.rx"), ",") == "re: xxxx,re: next"
	})
}

// Guards what has come before a request and waits in the kernel, as the reader is late: it is no answer, also where the reader
// then takes both at once.
func TestAnswerFromALateReader(t *testing.T) {
	for _, c := range []struct{ framing, late, terms, answer string }{
		{"line", "late", "", "re: ask"},
		{"line", "late\nbegun", "Serial-Until: ^re", "re: ask"},
		{"raw", "late\n", "", "\nre: ask\n"},
		{"raw", "late\n", "Serial-Gap: 100ms", "\nre: ask\n"},
	} {
		g := startGateway(t, "framing: "+c.framing, "tx_framing: line")
		lines := g.asked(t, func(line string) string { return "\nre: " + line + "\n" })
		s, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		reader := s.Workers[0]
		if reader.Name != "gps/reader" {
			t.Fatalf("%+v", s.Workers)
		}
		if err := syscall.Kill(reader.PID, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if _, err := g.device.Write([]byte(c.late)); err != nil {
			t.Fatal(err)
		}
		go func() { // ends with the test at the latest
			for len(lines()) == 0 && t.Context().Err() == nil {
				pause()
			}
			_ = syscall.Kill(reader.PID, syscall.SIGCONT)
		}()
		headers := []string{"Serial-Settle: 300ms", "Serial-Timeout: 10s"}
		if c.terms != "" {
			headers = append(headers, c.terms)
		}
		if answer, code := ask(t, g.connect(t, "send"), "ask", headers...); answer != c.answer || code != "" {
			t.Errorf("%q: the answer is %q, code %q", c, answer, code)
		}
	}
}
