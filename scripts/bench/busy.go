package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

var (
	busyFor   = flag.Duration("busy", 60*time.Second, "how long ports are busy, for -only busy")
	busyPorts = flag.Int("busy-ports", 64, "how many they are")
)

const (
	busyQueue = 10 // frames a second that are queued for each port
	// throughLimit is how long is waited for what is under way when nothing more comes.
	throughLimit = 30 * time.Second
)

// benchBusy measures what many ports cost at once, all of them busy in both directions, and whether anything is lost.
func benchBusy() error {
	return inRounds(fmt.Sprintf("%d busy ports", *busyPorts), measureBusy)
}

func measureBusy(t *table) error {
	return withCrowd(*busyPorts, func(r *run, devices crowd, nc *nats.Conn) error { return busyCrowd(t, r, devices, nc) })
}

func busyCrowd(t *table, r *run, devices crowd, nc *nats.Conn) error {
	tap, err := r.tap(*busyPorts)
	if err != nil {
		return err
	}
	frames, err := newFrames(nc, devices)
	if err != nil {
		return err
	}
	s, err := r.status()
	if err != nil {
		return err
	}

	before, begun := ranSoFar(s), time.Now()
	queued, queueing := int64(0), make(chan error, 1)
	go func() { // ends after busyFor
		var err error
		queued, err = frames.queue(*busyFor)
		queueing <- err
	}()
	said, err := devices.speak(*busyFor)
	if err = errors.Join(err, <-queueing); err != nil {
		return err
	}
	took := time.Since(begun).Seconds()
	cores := ranSoFar(s).since(before, took)
	t.note(fmt.Sprintf("lines said by %d devices in %s, each at 115200 baud", *busyPorts, busyFor), float64(said*int64(*busyPorts)), "")
	t.note("said and queued within", took, " s")
	ended := time.Now()
	account := func() (busyAccount, error) { return r.accountFor(tap, frames, said, queued) }
	var a busyAccount
	for a, err = account(); err == nil && a.missing() && time.Since(ended) < throughLimit; a, err = account() {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	t.note("until all had come through, after the last", time.Since(ended).Seconds(), " s")
	a.note(t, queued*int64(*busyPorts))
	t.note("one way, p50", percentile(tap.took, 50)/1000, " ms")
	t.note("one way, p99", percentile(tap.took, 99)/1000, " ms")
	t.note("CPU of the supervisor", cores.supervisor, " cores")
	t.note(fmt.Sprintf("CPU of %d workers", len(s.Workers)), cores.workers, " cores")
	t.note("CPU of the devices, the sender and the tap", cores.bench, " cores")
	workerMemory(t, s)
	return nil
}

// busyAccount is what became of the lines and the frames of all ports.
type busyAccount struct {
	uncounted, untapped, tappedAgain, unstored, storedAgain int64
	refused, unheard, heardAgain, untold, toldAgain         int64
	givenUp, restarts                                       int64
}

// missing says whether something may still be under way.
func (a busyAccount) missing() bool { return a.uncounted+a.untapped+a.unstored+a.unheard+a.untold > 0 }

func (r *run) accountFor(tap *crowdTap, frames *frames, said, queued int64) (a busyAccount, err error) {
	s, err := r.status()
	if err != nil {
		return a, err
	}
	for _, p := range s.Ports {
		a.uncounted += said - int64(p.Rx.Frames)
		a.givenUp += int64(p.Rx.LostHistory + p.Tx.LostHistory)
	}
	for _, w := range s.Workers {
		a.restarts += int64(w.Restarts)
	}
	a.untapped, a.tappedAgain = tap.missing(said)
	a.refused, a.unheard, a.heardAgain = frames.missing(queued)
	if a.unstored, a.storedAgain, err = tap.stored("rx", *busyPorts, said); err != nil {
		return a, err
	}
	a.untold, a.toldAgain, err = tap.stored("sent", *busyPorts, queued)
	return a, err
}

func (a busyAccount) note(t *table, queued int64) {
	t.never("of them not counted by status", a.uncounted)
	t.never("not with a tap", a.untapped)
	t.never("twice with it", a.tappedAgain)
	t.never("not in the history", a.unstored)
	t.never("twice there", a.storedAgain)
	t.note(fmt.Sprintf("frames queued, %d a second for each port", busyQueue), float64(queued), "")
	t.never("of them not acknowledged", a.refused)
	t.never("not with the device", a.unheard)
	t.never("twice with it or out of order", a.heardAgain)
	t.never("not in the history as sent", a.untold)
	t.never("twice there as sent", a.toldAgain)
	t.never("lines and frames that status says the history lacks", a.givenUp)
	t.never("restarts of workers", a.restarts)
}

// frames are what is queued for the ports of a crowd: each carries its number. The devices listen for as long as they are
// plugged in.
type frames struct {
	nc           *nats.Conn
	inbox        string
	acknowledged atomic.Int64
	heard        []heard
}

// heard is what a device was sent. It is the device's listener's, which the others learn of by copies.
type heard struct{ last atomic.Pointer[sequence] }

func newFrames(nc *nats.Conn, devices crowd) (*frames, error) {
	f := &frames{nc: nc, inbox: nc.NewInbox(), heard: make([]heard, len(devices))}
	for n, device := range devices {
		f.heard[n].last.Store(&sequence{})
		go f.heard[n].listen(device) // ends when the device is closed
	}
	_, err := nc.Subscribe(f.inbox, func(m *nats.Msg) {
		var ack ipc.PubAck
		if json.Unmarshal(m.Data, &ack) == nil && ack.Sequence > 0 && ack.Error == nil {
			f.acknowledged.Add(1)
		}
	})
	return f, err
}

func (h *heard) listen(device *simulator.Pty) {
	var all sequence
	for in := bufio.NewReader(device); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		all.take(numberIn(line))
		now := all
		h.last.Store(&now)
	}
}

// queue queues frames for each port for a time, and returns how many for each.
func (f *frames) queue(length time.Duration) (each int64, err error) {
	subjects := ipc.Subjects{Root: ipc.DefaultRoot}
	return paced(length, len(f.heard), busyQueue, func(port int, n int64) error {
		line := lineAt(n, crowdBytes)
		return f.nc.PublishRequest(subjects.Tx(portName(port)), f.inbox, line[:len(line)-1])
	})
}

// missing is how many frames were not acknowledged, and how many the devices have not heard, or twice, of so many for each.
func (f *frames) missing(each int64) (refused, unheard, again int64) {
	refused = each*int64(len(f.heard)) - f.acknowledged.Load()
	for n := range f.heard {
		last := f.heard[n].last.Load()
		unheard, again = unheard+last.missing(each), again+last.again
	}
	return refused, unheard, again
}
