package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/scripts/usage"
)

var (
	tapsFor  = flag.Duration("taps-for", 30*time.Second, "how long a port is tapped, for -only taps")
	tapCount = flag.Int("taps", 200, "by how many")
)

const (
	tapRate    = 1000 // lines a second
	notReading = 3    // taps that never read
)

// benchTaps measures what many taps of one port get, beside some that never read.
func benchTaps() error {
	return inRounds(fmt.Sprintf("%d taps", *tapCount), measureTaps)
}

func measureTaps(t *table) error {
	return withCrowd(1, func(r *run, devices crowd, _ *nats.Conn) error { return tapCrowd(t, r, devices) })
}

func tapCrowd(t *table, r *run, devices crowd) error {
	var taps []*crowdTap
	for range *tapCount {
		tap, err := r.tap(1)
		if err != nil {
			return err
		}
		taps = append(taps, tap)
	}
	for range notReading {
		if err := r.subscribeAndNotRead(); err != nil {
			return err
		}
	}
	s, err := r.status()
	if err != nil {
		return err
	}
	before, begun := ranSoFar(s), time.Now()
	said, err := paced(*tapsFor, 1, tapRate, func(port int, n int64) error {
		_, err := devices[port].Write(crowdLine(n))
		return err
	})
	if err != nil {
		return err
	}
	cores := ranSoFar(s).since(before, time.Since(begun).Seconds())
	lost := func() (lost, again int64) {
		for _, tap := range taps {
			l, a := tap.missing(said)
			lost, again = lost+l, again+a
		}
		return lost, again
	}
	ended := time.Now()
	for l, _ := lost(); l > 0 && time.Since(ended) < throughLimit; l, _ = lost() {
		time.Sleep(20 * time.Millisecond)
	}
	through := time.Since(ended)
	missing, again := lost()
	unstored, storedAgain, err := taps[0].stored("rx", 1, said)
	if err != nil {
		return err
	}
	t.note(fmt.Sprintf("lines said in %s, %d a second", *tapsFor, tapRate), float64(said), "")
	t.note("until all had come to all taps, after the last", through.Seconds(), " s")
	t.never(fmt.Sprintf("of them missing with any of %d taps, beside %d that never read", *tapCount, notReading), missing)
	t.never("twice with any", again)
	t.never("not in the history", unstored)
	t.never("twice there", storedAgain)
	t.note("one way, p50 of a tap", percentile(taps[0].took, 50)/1000, " ms")
	t.note("one way, p99 of a tap", percentile(taps[0].took, 99)/1000, " ms")
	t.note("CPU of the supervisor", cores.supervisor, " cores")
	t.note("CPU of the workers", cores.workers, " cores")
	t.note("CPU of the device and the taps", cores.bench, " cores")
	_, pss := usage.Memory(s.PID)
	t.note("PSS of the supervisor", pss, " MiB")
	return nil
}

// subscribeAndNotRead is a tap that says what it wants to hear, and never takes any of it.
func (r *run) subscribeAndNotRead() error {
	c, err := r.credentials(ipc.RoleTap)
	if err != nil {
		return err
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return err
	}
	context.AfterFunc(r.ctx, func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "CONNECT {\"user\":%q,\"pass\":%q,\"lang\":\"none\"}\r\nSUB serial.> 1\r\n", c.User, c.Password)
	return err
}
