package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// isCutOff is what the log says of a client for which too much waits, or that has not read for long.
var isCutOff = regexp.MustCompile("a client that does not (keep up|read) is cut off")

// cutOff says how often the log tells of a client that was cut off.
func (g *gateway) cutOff() int { return len(isCutOff.FindAllString(g.errors.String(), -1)) }

// deafSubscriber subscribes to what the port receives and reads nothing of it, without a client library, which would.
func (g *gateway) deafSubscriber(t *testing.T) {
	t.Helper()
	env := g.env(t, "tap")
	address, err := url.Parse(env["NATS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, `CONNECT {"user":%q,"pass":%q,"verbose":false,"headers":true}`+"\r\nSUB serial.gps.rx 1\r\nPING\r\n", env["NATS_USER"], env["NATS_PASSWORD"])
	for lines := bufio.NewReader(conn); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the broker does not let it subscribe: %v", err)
		}
		if strings.HasPrefix(line, "PONG") {
			return
		}
	}
}

// A subscriber that never reads slows nobody down, whatever waits for it.
func TestDeafSubscriber(t *testing.T) {
	g := startMeasured(t)
	live := g.liveTap(t)
	// So much waits for it in the end that it is cut off.
	const few, many = 15000, 60000
	total := 0
	flood := func(lines int) time.Duration {
		begun := time.Now()
		for range lines / 20 {
			var said bytes.Buffer
			for range 20 {
				fmt.Fprintf(&said, "line %d %s\n", total, strings.Repeat(".", 1000))
				total++
			}
			if _, err := g.device.Write(said.Bytes()); err != nil {
				t.Fatal(err)
			}
		}
		waitUntil(t, "a tap has everything", func() bool { n, _ := live.seen(); return n == total })
		return time.Since(begun)
	}
	alone := flood(few) * (many / few)
	g.deafSubscriber(t)
	beside := flood(many)
	t.Logf("%d lines of 1 kB: %s without, %s beside a subscriber that does not read", many, alone.Round(time.Millisecond), beside.Round(time.Millisecond))
	if limit := 2*alone + busyGap; beside > limit {
		t.Errorf("beside a subscriber that does not read it took %s, want at most %s", beside, limit)
	}
	waitUntil(t, "it is cut off", func() bool { return g.cutOff() > 0 })
	if n := g.figures(t)["serialvisor_broker_slow_consumers_total"]; n != 1 {
		t.Errorf("%v slow consumers are counted, want 1", n)
	}
	g.wantCounted(t, total)
}
