package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/scripts/hwtest/order"
)

const (
	exitLimit  = 5 * time.Second
	probes     = 200 // of status
	echoes     = 100
	noiseLimit = 50 * time.Millisecond
)

var drainChecks = []check{
	{"ports that do not drain delay neither status nor another port", checkDelay},
	{fmt.Sprintf("with output that does not drain the supervisor ends within %s", exitLimit), checkExit},
}

var allPorts = []port{{"uart", uart, nil}, {"ftdi", ftdi, nil}, {"acm", acm, nil}}

// withStuck runs a supervisor of which uart and acm do not drain during use: the host reads nothing, and nobody has
// the gadget's end open.
func withStuck(h *host, before, use func(*gateway) error) error {
	err := withGateway(allPorts, func(g *gateway) error {
		if err := g.awaitOpen("uart", "ftdi", "acm"); err != nil {
			return err
		}
		if err := before(g); err != nil {
			return err
		}
		if err := h.each(order.UART, order.Hold); err != nil {
			return err
		}
		for _, name := range []string{"uart", "acm"} {
			for i := range 64 {
				if err := g.queue(name, fmt.Sprintf("%04d %s", i, strings.Repeat("x", 1000))); err != nil {
					return err
				}
			}
			if err := g.awaitStuck(name); err != nil {
				return err
			}
		}
		return use(g)
	})
	return errors.Join(err, h.each(order.UART, order.Release))
}

// awaitStuck waits until nothing is written any more, and frames are left.
func (g *gateway) awaitStuck(name string) error {
	last, since := uint64(0), time.Now()
	return g.await(name, "is stuck", func(s ipc.PortStatus) bool {
		if s.Tx.Bytes != last {
			last, since = s.Tx.Bytes, time.Now()
		}
		return s.Tx.Queued > 0 && time.Since(since) > time.Second
	})
}

// checkDelay measures how long status takes, and a frame that ftdi sends and gets back, without and with stuck ports.
func checkDelay(h *host) (string, error) {
	var freeStatus, freeEcho, stuckStatus, stuckEcho []time.Duration
	measure := func(status, echo *[]time.Duration) func(*gateway) error {
		return func(g *gateway) (err error) {
			if *status, err = g.timeStatus(); err != nil {
				return err
			}
			*echo, err = g.timeEcho(h)
			return err
		}
	}
	err := withStuck(h, measure(&freeStatus, &freeEcho), measure(&stuckStatus, &stuckEcho))
	if err != nil {
		return "", err
	}
	figure := fmt.Sprintf("status %s, before %s; echo %s, before %s", quantiles(stuckStatus), quantiles(freeStatus), quantiles(stuckEcho), quantiles(freeEcho))
	for _, pair := range [][2][]time.Duration{{freeStatus, stuckStatus}, {freeEcho, stuckEcho}} {
		for _, p := range []int{50, 90} {
			if percentile(pair[1], p) > 2*percentile(pair[0], p)+noiseLimit {
				return "", fmt.Errorf("%s: more than twice as long and %s", figure, noiseLimit)
			}
		}
		if percentile(pair[1], 99) > time.Second {
			return "", fmt.Errorf("%s: more than 1s", figure)
		}
	}
	return figure, nil
}

func (g *gateway) timeStatus() (took []time.Duration, err error) {
	for range probes {
		begun := time.Now()
		if _, err := g.status(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}

// timeEcho has the host send back what ftdi sends, from queueing a frame to its arrival.
func (g *gateway) timeEcho(h *host) (took []time.Duration, err error) {
	if err := h.each(order.FTDI, order.Echo); err != nil {
		return nil, err
	}
	in, err := g.receive("ftdi")
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.sub.Unsubscribe() }()
	for i := range echoes {
		frame := fmt.Sprintf("echo-%06d", i)
		begun := time.Now()
		if err := g.queue("ftdi", frame); err != nil {
			return nil, err
		}
		for arrived := false; !arrived; <-time.After(100 * time.Microsecond) {
			frames, _ := in.frames()
			if arrived = slices.Contains(frames, frame); !arrived && time.Since(begun) > patience {
				return nil, fmt.Errorf("%s did not come back within %s", frame, patience)
			}
		}
		took = append(took, time.Since(begun))
	}
	return took, h.each(order.FTDI, order.Mute)
}

func checkExit(h *host) (string, error) {
	var took time.Duration
	err := withStuck(h, func(*gateway) error { return nil }, func(g *gateway) error {
		begun := time.Now()
		if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-g.ended:
		case <-time.After(2 * patience):
			return fmt.Errorf("it has not ended after %s", 2*patience)
		}
		if took = time.Since(begun); took > exitLimit {
			return fmt.Errorf("it ended after %.2f s", took.Seconds())
		}
		return nil // stop looks at its exit code
	})
	return fmt.Sprintf("it ended after %.2f s", took.Seconds()), err
}
