package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// TestFullDiskUnderAFlood fills the disk twice under three ports that receive and send, one of them more than 20,000 lines
// a second. Each time all of them recover, and what is missing in the history is what counts as lost.
func TestFullDiskUnderAFlood(t *testing.T) {
	g := newPluggedGateway(t)
	dir := g.mount(t, "tmpfs", "tmpfs", "size=256m")
	ports := []*floodedPort{{name: "gps", device: g.device, rate: 250}, g.addPort(t, "plc", 40), g.addPort(t, "dmm", 1)}
	g.program = g.background(t, "run", "--config", filepath.Join(g.dir, "c.yaml"))
	waitUntil(t, "the ports are open", func() bool {
		s, err := g.status()
		return err == nil && s.Ports[0].State == ipc.Open && s.Ports[1].State == ipc.Open && s.Ports[2].State == ipc.Open
	})
	nc, sender := g.connect(t, "tap"), g.connect(t, "send")
	for _, p := range ports {
		p.hear(t)
		p.talk(t)
	}
	ended, sent := make(chan struct{}), make(chan int)
	go func() { // ends with ended
		taken := 0
		for n := 0; ; n++ {
			select {
			case <-ended:
				sent <- taken
				return
			default:
			}
			// Without an answer it may be queued all the same.
			if _, err := sender.Request("serial."+ports[n%len(ports)].name+".tx", fmt.Appendf(nil, "frame %d", n), liveGap); err == nil {
				taken++
			}
		}
	}()
	for range 2 {
		before := statusOf(t, nc).Ports[0].Rx
		begun := time.Now()
		waitUntil(t, "it receives", func() bool { return statusOf(t, nc).Ports[0].Rx.Frames >= before.Frames+20000 })
		t.Logf("%.0f lines a second", 20000/time.Since(begun).Seconds())
		free := fill(t, dir, 3<<20)
		g.storeState(t, nc, ipc.StoreFull)
		awaitLoss(t, nc, before.LostHistory+20000)
		free()
		_, took := g.storeState(t, nc, ipc.StoreOK)
		t.Logf("the store was back %s after there was room", took.Round(time.Millisecond))
		for _, p := range ports {
			g.mustRun(t, nil, "send", p.name, "back", "--wait")
		}
	}
	close(ended)
	t.Logf("%d frames were queued", <-sent)
	h := g.history(t)
	for i, p := range ports {
		said := uint64(p.stop())
		var s portNumbers
		var rx, tx uint64
		waitUntil(t, p.name+": every frame is stored or counted as lost", func() bool {
			s = statusOf(t, nc).Ports[i]
			rx, tx = count(t, h, "serial."+p.name+".rx"), count(t, h, "serial."+p.name+".sent")
			return s.Rx.Frames == said && rx+s.Rx.LostHistory == said && tx+s.Tx.LostHistory == s.Tx.Frames && s.Tx.Queued == 0
		})
		t.Logf("%s: received %d, of which %d are lost to the history; sent %d", p.name, said, s.Rx.LostHistory, s.Tx.Frames)
		waitUntil(t, p.name+" was sent what is told", func() bool { return uint64(strings.Count(p.heard.String(), "\n")) == s.Tx.Frames })
	}
}

// floodedPort is a port whose device says some lines every 10 ms.
type floodedPort struct {
	name   string
	device *simulator.Pty
	rate   int
	heard  output
	stop   func() int
}

// addPort adds one to the config of a gateway that does not run yet.
func (g *gateway) addPort(t *testing.T, name string, rate int) *floodedPort {
	t.Helper()
	device, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	path := filepath.Join(g.dir, "c.yaml")
	config, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, fmt.Appendf(config, "  %s: {device: %s}\n", name, device.Path()), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &floodedPort{name: name, device: device, rate: rate}
}

// hear collects what the device is sent.
func (p *floodedPort) hear(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends when the device is closed
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, err := p.device.Read(buffer)
			_, _ = p.heard.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.device.Close()
		<-done
	})
}

// talk has the device speak until stop, which says how many lines it said.
func (p *floodedPort) talk(t *testing.T) {
	t.Helper()
	ended, done := make(chan struct{}), make(chan int, 1)
	go func() { // ends with ended, or when the device is closed
		n := 0
		defer func() { done <- n }()
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for {
			var lines bytes.Buffer
			for range p.rate {
				fmt.Fprintf(&lines, "line %d of a flood\n", n)
				n++
			}
			if _, err := p.device.Write(lines.Bytes()); err != nil {
				return
			}
			select {
			case <-pace.C:
			case <-ended:
				return
			}
		}
	}()
	p.stop = func() int {
		close(ended)
		return <-done
	}
}
