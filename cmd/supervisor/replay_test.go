package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// awkward are bytes that a device may send: text, every byte there is, long frames, empty ones, delimiters of all
// framings in a row, and a beginning without an end.
func awkward() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	data := []byte("\xc0\xc0$GPGGA,1\r\n\n\n\r\n\xc0\xdb\xdc\xdb\xdd\xc0\xc0\xc0\xdbx\xc0")
	random := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		data = append(data, bytes.Repeat(all[random.IntN(256):], 1+random.IntN(8))...)
		data = append(data, "\r\n$GPRMC,030405.06,A\r\n"...)
	}
	return append(data, "\xc0unfinished"...)
}

// startLinkedGateway has its device by another name than the system's, which soon goes to another device.
func startLinkedGateway(t *testing.T, settings ...string) *gateway {
	t.Helper()
	device, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	link := filepath.Join(t.TempDir(), "gps")
	if err := device.Link(link); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, link, settings...)
	g.device, g.link = device, link
	g.run(t)
	return g
}

// unplug takes the device of a linked gateway out.
func (g *gateway) unplug(t *testing.T) {
	t.Helper()
	if err := errors.Join(os.Remove(g.link), g.device.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestReplayGivesTheSameBytes takes what one gateway has received, in odd chunks, to another one in a file.
func TestReplayGivesTheSameBytes(t *testing.T) {
	want := awkward()
	for name, framing := range map[string]string{
		"line":  `framing: {type: line, delimiter: "\r\n", max_bytes: 300}`,
		"slip":  "framing: {type: slip, max_bytes: 1000}",
		"fixed": "framing: {type: fixed, bytes: 17}",
	} {
		t.Run(name, func(t *testing.T) {
			first := startLinkedGateway(t, framing)
			random := rand.New(rand.NewPCG(3, 4))
			for rest := want; len(rest) > 0; {
				n := min(1+random.IntN(200), len(rest))
				if _, err := first.device.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			first.await(t, "every byte was read", func(s portNumbers) bool { return s.Rx.Bytes == uint64(len(want)) })
			first.unplug(t)
			first.await(t, "the port is closed", func(s portNumbers) bool { return s.State == ipc.Missing })
			equal(t, "raw", first.mustRun(t, nil, "export", "gps", "--format", "raw"), want)
			for _, format := range []string{"jsonl", "csv", "pcapng"} {
				t.Run(format, func(t *testing.T) {
					file := filepath.Join(t.TempDir(), "recorded")
					first.mustRun(t, nil, "export", "gps", "--format", format, "--output", file)
					link := filepath.Join(t.TempDir(), "gps")
					second := newGateway(t, link, framing)
					replay := second.background(t, "replay", file, "--link", link, "--speed", "0")
					waitUntil(t, "the device is there", func() bool { return strings.Contains(replay.errors.String(), "waiting for somebody") })
					second.program = second.background(t, "run", "--config", filepath.Join(second.dir, "c.yaml"))
					if <-replay.ended; replay.err != nil {
						t.Fatalf("replay: %v\n%s", replay.err, replay.errors)
					}
					second.await(t, "the port is closed again", func(s portNumbers) bool { return s.State == ipc.Missing && s.Rx.Bytes > 0 })
					equal(t, "the second gateway's history", second.mustRun(t, nil, "export", "gps", "--format", "raw"), want)
					if _, err := os.Lstat(link); !os.IsNotExist(err) {
						t.Errorf("the link is left behind: %v", err)
					}
				})
			}
		})
	}
}
