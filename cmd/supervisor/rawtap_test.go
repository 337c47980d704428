package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

var isMissing = regexp.MustCompile(`port gps: (\d+) received bytes are missing here`)

// Guards that a tap which prints exact bytes made up delimiters for the frames that it had not seen, and said nothing of them.
func TestRawTapOverAnOutage(t *testing.T) {
	for _, c := range []struct{ framing, frame string }{
		{"line", "line %06d\n"},
		{"{type: slip}", "\xc0packet %06d\xc0"},
		{"{type: cobs}", "\x0epacket %06d\x00"},
		{"{type: fixed, bytes: 13}", "packet %06d"},
		{"{type: length, size: 1}", "\x0dpacket %06d"},
		{"{type: gap, gap: 2ms}", "packet %06d"},
		{"raw", "packet %06d"},
	} {
		t.Run(c.framing, func(t *testing.T) {
			g := newOpenGateway(t, "framing: "+c.framing)
			g.install(t)
			g.run(t)
			tap := g.background(t, "tap", "gps", "--raw")
			stop := g.sayFrames(c.frame)
			for missing := uint64(0); missing == 0; missing = missingOf(tap) {
				g.mustRun(t, nil, "upgrade")
				g.await(t, "the port is open", func(p portNumbers) bool { return p.State == ipc.Open })
				n := len(tap.String())
				waitUntil(t, "the tap goes on", func() bool { return len(tap.String()) > n })
			}
			said := stop()
			waitUntil(t, "what is printed and what is missing is what was said", func() bool {
				return uint64(len(tap.String()))+missingOf(tap) == uint64(len(said))
			})
			// What is printed is what was said but for what is missing.
			out, rest := []byte(tap.String()), said
			for len(out) > 0 {
				same := len(commonPrefix(out, rest))
				out, rest = out[same:], rest[same:]
				if len(out) == 0 {
					break
				}
				next := bytes.Index(rest, out[:min(len(out), 14)])
				if next < 0 {
					t.Fatalf("it prints %.60q, which was not said", out)
				}
				rest = rest[next:]
			}
			if out := g.mustRun(t, nil, "export", "gps", "--format", "raw"); !bytes.Equal(out, said) {
				t.Errorf("the history has %d bytes that are not the %d said; they differ from %.60q on", len(out), len(said), firstDifference(out, said))
			}
		})
	}
}

func commonPrefix(a, b []byte) []byte {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// missingOf is how many bytes a tap says that it has missed.
func missingOf(tap *program) (n uint64) {
	for _, m := range isMissing.FindAllStringSubmatch(tap.errors.String(), -1) {
		bytes, _ := strconv.ParseUint(m[1], 10, 64) // it is a number
		n += bytes
	}
	return n
}

// sayFrames has the device say a numbered frame every 5 ms. The returned function ends it and returns what was said.
func (g *gateway) sayFrames(format string) (stop func() []byte) {
	end, said := make(chan struct{}), make(chan []byte)
	go func() { // ends with end
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var all []byte
		for n := 0; ; n++ {
			select {
			case <-end:
				said <- all
				return
			case <-tick.C:
				frame := fmt.Appendf(nil, format, n)
				if _, err := g.device.Write(frame); err == nil {
					all = append(all, frame...)
				}
			}
		}
	}()
	return func() []byte {
		close(end)
		return <-said
	}
}
