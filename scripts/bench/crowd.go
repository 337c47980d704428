package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// What is said on a line of 115200 baud, with ten bits for each byte, that is never silent.
const (
	crowdBytes = 48 // of a line, with its end
	crowdRate  = 115200 / 10 / float64(crowdBytes)
)

// roomForAll is a history that keeps everything that a measurement makes, to be counted.
const roomForAll = "history: {max_bytes: 8GiB}\n"

// crowd are the devices of ports p0, p1, …
type crowd []*simulator.Pty

func openCrowd(count int) (crowd, error) {
	var c crowd
	for range count {
		device, err := simulator.Open()
		if err != nil {
			c.close()
			return nil, err
		}
		c = append(c, device)
	}
	return c, nil
}

// withCrowd serves the devices of some ports while do runs, with a connection that may send to them.
func withCrowd(ports int, do func(r *run, devices crowd, nc *nats.Conn) error) error {
	r, err := newRun()
	if err != nil {
		return err
	}
	defer r.stop()
	devices, err := openCrowd(ports)
	if err != nil {
		return err
	}
	defer devices.close()
	nc, err := serve(r, devices.ports()+roomForAll)
	if err != nil {
		return err
	}
	defer nc.Close()
	return do(r, devices, nc)
}

func (c crowd) close() {
	for _, device := range c {
		_ = device.Close()
	}
}

func portName(n int) string { return fmt.Sprint("p", n) }

func portNumber(name string) int64 { return numberIn(name[1:]) }

// ports is what the config says of them.
func (c crowd) ports() string {
	var b strings.Builder
	for n, device := range c {
		fmt.Fprintf(&b, "  %s: {device: %s}\n", portName(n), device.Path())
	}
	return b.String()
}

// speak has all devices say lines at the pace of their line for a time, and returns how many each has said. A device that
// nobody reads holds up the others too.
func (c crowd) speak(length time.Duration) (each int64, err error) {
	return paced(length, len(c), crowdRate, func(port int, n int64) error {
		_, err := c[port].Write(crowdLine(n))
		return err
	})
}

// crowdLine carries its number and when it was said.
func crowdLine(n int64) []byte {
	line := fmt.Appendf(make([]byte, 0, crowdBytes), "%d %d ", n, monotonic())
	line = append(line, bytes.Repeat([]byte("x"), crowdBytes-1-len(line))...)
	return append(line, '\n')
}

// paced calls do for each of some ports so often a second, with the number of calls for that port before, until all calls are
// made that are due in a time. The ports take turns: no two are due at once.
func paced(length time.Duration, ports int, rate float64, do func(port int, n int64) error) (each int64, err error) {
	each = int64(length.Seconds() * rate)
	next := make([]int64, ports)
	for begun := time.Now(); next[ports-1] < each; time.Sleep(time.Millisecond) {
		periods := time.Since(begun).Seconds() * rate
		for port := range next {
			due := min(each, int64(math.Floor(periods-float64(port)/float64(ports)))+1)
			for ; next[port] < due; next[port]++ {
				if err := do(port, next[port]); err != nil {
					return next[port], err
				}
			}
		}
	}
	return each, nil
}

// sequence follows numbers that should come in order.
type sequence struct{ next, lost, again int64 }

func (s *sequence) take(n int64) {
	if n < s.next {
		s.again++
		return
	}
	s.lost += n - s.next
	s.next = n + 1
}

// missing is how many of a number are lost, those at the end too.
func (s *sequence) missing(of int64) int64 { return s.lost + of - s.next }

// crowdTap is what a tap gets of the lines that a crowd says.
type crowdTap struct {
	nc *nats.Conn

	mu    sync.Mutex // guards all below
	lines []sequence // of each port
	took  []time.Duration
}

// tap begins to follow what some ports receive. What is returned is closed with the run.
func (r *run) tap(ports int) (*crowdTap, error) {
	nc, err := r.connect(ipc.RoleTap)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(r.ctx, nc.Close)
	t := &crowdTap{nc: nc, lines: make([]sequence, ports)}
	sub, err := nc.Subscribe(ipc.Subjects{Root: ipc.DefaultRoot}.Rx("*"), t.take)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = nc.Flush()
	}
	return t, err
}

func (t *crowdTap) take(m *nats.Msg) {
	now := monotonic()
	name, _, _ := ipc.Subjects{Root: ipc.DefaultRoot}.Split(m.Subject)
	_, said, _ := strings.Cut(string(m.Data), " ")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[portNumber(name)].take(numberIn(string(m.Data)))
	t.took = append(t.took, time.Duration(now-numberIn(said)))
}

// missing is how many lines have not come, of so many from each port, and how many came twice.
func (t *crowdTap) missing(each int64) (lost, again int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.lines {
		lost, again = lost+t.lines[i].missing(each), again+t.lines[i].again
	}
	return lost, again
}

// stored asks the history how many messages it has of each port of some kind, and returns how many lack and how many are too
// many of so many from each.
func (t *crowdTap) stored(kind string, ports int, each int64) (lost, again int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	js, err := jetstream.New(t.nc)
	if err != nil {
		return 0, 0, err
	}
	subjects := ipc.Subjects{Root: ipc.DefaultRoot}
	history, err := js.Stream(ctx, subjects.History())
	if err != nil {
		return 0, 0, err
	}
	info, err := history.Info(ctx, jetstream.WithSubjectFilter(subjects.Port("*")+"."+kind))
	if err != nil {
		return 0, 0, err
	}
	for n := range ports {
		lacking := each - int64(info.State.Subjects[subjects.Port(portName(n))+"."+kind])
		lost, again = lost+max(lacking, 0), again+max(-lacking, 0)
	}
	return lost, again, nil
}
