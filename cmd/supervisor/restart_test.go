package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// again ends the supervisor as a crash does, and starts it again, with a free port and new passwords.
func (g *gateway) again(t *testing.T) {
	t.Helper()
	if err := g.process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	g.run(t)
}

// configure adds a line to the config of a gateway that does not run.
func (g *gateway) configure(t *testing.T, line string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(g.dir, "c.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// code is what a verb that has ended has ended with.
func (p *program) code() int {
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// signal sends a signal to a verb.
func (p *program) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Guards taps that waited for ever at the address where the supervisor had been.
func TestTapOverARestart(t *testing.T) {
	g := startGateway(t)
	live := g.background(t, "tap", "gps")
	past := g.background(t, "tap", "gps", "--since", "1h")
	for n := range 3 {
		line := fmt.Sprintf("line %d", n)
		if _, err := g.device.Write([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
		for _, tap := range []*program{live, past} {
			waitUntil(t, "the tap shows "+line, func() bool { return strings.Contains(tap.String(), line) })
		}
		g.again(t)
		for _, tap := range []*program{live, past} {
			waitUntil(t, "the tap says that the supervisor is back", func() bool { return strings.Count(tap.errors.String(), "the supervisor is back") == n+1 })
			if got := strings.Count(tap.errors.String(), "lost the supervisor"); got != n+1 {
				t.Errorf("the tap says %d times that it has lost the supervisor, want %d\n%s", got, n+1, tap.errors)
			}
		}
	}
}

// Guards that send --wait learns what became of a frame that was written while it had no connection, or says that it does not
// know.
func TestSendWaitsOverARestart(t *testing.T) {
	for _, c := range []struct {
		history, queue string
		code           int
		says           string
	}{
		{"file", "file", 0, "the supervisor is back"},
		{"none", "file", exitFailed, "whether the frame was written is not known: this gateway keeps no history"},
		{"file", "memory", exitFailed, "its queue is gone, and the history does not have it"},
	} {
		g := newPluggedGateway(t, "framing: {type: raw, max_bytes: 1000000}", "queue: "+c.queue)
		g.configure(t, "history: {storage: "+c.history+"}")
		g.run(t)
		frame := strings.Repeat("x", 300_000)
		g.mustRun(t, []byte(frame), "send", "gps", "-")
		g.await(t, "some of it is written", func(p portNumbers) bool { return p.Tx.Bytes > 0 })
		waits := g.background(t, "send", "gps", "last", "--wait")
		g.await(t, "the last frame is queued", func(p portNumbers) bool { return p.Tx.Queued == 2 })
		waits.signal(t, syscall.SIGSTOP)
		g.again(t)
		if c.queue == "file" {
			var heard bytes.Buffer
			buffer := make([]byte, 64<<10)
			for !bytes.HasSuffix(heard.Bytes(), []byte("last")) {
				n, err := g.device.Read(buffer)
				if err != nil {
					t.Fatal(err)
				}
				heard.Write(buffer[:n])
			}
			g.await(t, "all is written", func(p portNumbers) bool { return p.Tx.Queued == 0 })
		}
		waits.signal(t, syscall.SIGCONT)
		select {
		case <-waits.ended:
		case <-time.After(patience):
			t.Fatalf("history %s, queue %s: it waits still\n%s", c.history, c.queue, waits.errors)
		}
		if code := waits.code(); code != c.code || !strings.Contains(waits.errors.String(), c.says) {
			t.Errorf("history %s, queue %s: exit code %d, want %d\n%s", c.history, c.queue, code, c.code, waits.errors)
		}
	}
}

var missingBytes = regexp.MustCompile(`port gps: (\d+) received bytes are missing`)

// Guards that a tap that was cut off because it did not keep up says how much it has missed.
func TestTapSaysWhatItMissed(t *testing.T) {
	g := startGateway(t, "queue: none")
	live := g.liveTap(t)
	tap := g.background(t, "tap", "gps", "--raw")
	total, lines := 0, 0
	say := func(line string) {
		t.Helper()
		if _, err := g.device.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		total += len(line)
		lines += strings.Count(line, "\n")
		waitUntil(t, "the line was received", func() bool { n, _ := live.seen(); return n > lines-2000 })
	}
	say("first\n")
	waitUntil(t, "the tap shows it", func() bool { return strings.Contains(tap.String(), "first") })
	tap.signal(t, syscall.SIGSTOP)
	many := strings.Repeat(strings.Repeat(".", 1023)+"\n", 50)
	for begun := time.Now(); g.cutOff() == 0; say(many) {
		if time.Since(begun) > patience {
			t.Fatalf("a tap that reads nothing is not cut off\n%s", g.errors)
		}
	}
	tap.signal(t, syscall.SIGCONT)
	waitUntil(t, "the tap is back", func() bool { return strings.Contains(tap.errors.String(), "the supervisor is back") })
	// It is back a moment before the broker knows of its subscriptions again.
	const end = 1 << 10 // bytes; there is too much to look through all of it time and again
	last := 0
	waitUntil(t, "the tap shows a last line", func() bool {
		last++
		say(fmt.Sprintf("last %d\n", last))
		return strings.Contains(tap.Tail(end), "last ")
	})
	waitUntil(t, "the tap shows the last line", func() bool { return strings.HasSuffix(tap.Tail(end), fmt.Sprintf("last %d\n", last)) })
	tap.stop(t, 0, syscall.SIGTERM)
	seen, missing := len(tap.String()), 0
	for _, found := range missingBytes.FindAllStringSubmatch(tap.errors.String(), -1) {
		n, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		missing += n
	}
	if missing == 0 || seen+missing != total {
		t.Errorf("the tap has shown %d bytes and misses %d, want %d together\n%s", seen, missing, total, tap.errors)
	}
}
