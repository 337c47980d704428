package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// portPlan is what a port of a phase is like.
type portPlan struct {
	name   string
	binary bool // framing by length, else lines
	plug   bool // its device is unplugged now and then
}

// plan makes ports of all kinds.
func plan(count int) (ports []portPlan) {
	for i := range count {
		p := portPlan{binary: i%4 >= 2, plug: i%2 == 1}
		p.name = fmt.Sprintf("text%d", i+1)
		if p.binary {
			p.name = fmt.Sprintf("binary%d", i+1)
		}
		if p.plug {
			p.name += "-plug"
		}
		ports = append(ports, p)
	}
	return ports
}

// phase is one gateway under traffic and events, and what is expected of it.
type phase struct {
	name  string
	keeps bool // the service manager keeps descriptors
	ports []portPlan
	seed  uint64
	dir   string
	room  int // of a pseudo-terminal

	gateway   *gateway
	devices   []*device
	senders   []*sender
	tap       *tap
	spectator *spectator
	actor     *actor
}

// maxBytes is the ports' max_bytes. A text frame from the device can be longer and comes in pieces then.
const (
	maxText   = 64 << 10
	maxBinary = 8 << 10
)

func (p *phase) config() string {
	var b strings.Builder
	b.WriteString("name: chaos\nbroker: {listen: 127.0.0.1:0}\nhistory: {max_age: 240h, max_bytes: 1024GiB}\nports:\n")
	for i, port := range p.ports {
		framing := fmt.Sprintf("{type: line, max_bytes: %d}", maxText)
		if port.binary {
			framing = fmt.Sprintf("{type: length, size: 2, byte_order: big, max_bytes: %d}", maxBinary)
		}
		fmt.Fprintf(&b, "  %s: {device: %q, framing: %s}\n", port.name, p.devices[i].link, framing)
	}
	return b.String()
}

// run has traffic and events for a time, and then checks. An error is one of the surroundings, not of the gateway.
func (p *phase) run(ctx context.Context, programs string, length time.Duration) (_ *report, err error) {
	p.dir = filepath.Join(p.dir, p.name)
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(p.dir, "clients.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	for i, port := range p.ports {
		speech := talk{port.name, i, 'r', port.binary, p.seed}
		order := speech
		order.toward = 't'
		d := newDevice(filepath.Join(p.dir, "tty-"+port.name), speech, order)
		if err := d.plugIn(); err != nil {
			return nil, err
		}
		defer d.unplug(false)
		p.devices = append(p.devices, d)
	}
	if p.gateway, err = newGateway(p.dir, programs, p.keeps, p.config()); err != nil {
		return nil, err
	}
	defer p.gateway.close()
	for _, d := range p.devices {
		p.senders = append(p.senders, &sender{talk: d.order, stateDir: p.gateway.stateDir(), log: log})
	}
	p.tap = &tap{stateDir: p.gateway.stateDir(), sights: map[string]*sight{}}
	p.spectator = &spectator{programs: programs, stateDir: p.gateway.stateDir()}
	events, err := os.Create(filepath.Join(p.dir, "events.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = events.Close() }()
	p.actor = &actor{phase: p, log: events}
	if err := p.gateway.start(); err != nil {
		return nil, err
	}
	starting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.gateway.allOpen(starting); err != nil {
		return nil, err
	}
	return p.torment(ctx, length)
}

// torment has traffic and events, brings all to rest, and checks.
func (p *phase) torment(ctx context.Context, length time.Duration) (*report, error) {
	// Clients end after the last frame has come, or not.
	clients, dismiss := context.WithCancel(ctx)
	defer dismiss()
	var audience errgroup.Group
	audience.Go(func() error { return p.tap.Run(clients) })
	audience.Go(func() error { return p.spectator.Run(clients) })
	sending := errgroup.Group{}
	for _, s := range p.senders {
		sending.Go(func() error { return s.Run(clients) })
	}
	limited, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	speaking, hush := errgroup.WithContext(limited)
	for _, d := range p.devices {
		speaking.Go(func() error { return d.Run(hush) })
	}
	speaking.Go(func() error { return p.actor.Run(hush, newSchedule(p.seed, p.ports)) })
	speaking.Go(func() error { return p.progress(hush) })
	if err := speaking.Wait(); err != nil {
		return nil, err
	}
	p.rest(ctx)
	dismiss()
	failure := sending.Wait()
	_ = audience.Wait() // they return nil
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if failure != nil {
		p.gateway.fail(failure.Error())
	}
	return p.check(ctx)
}

// progress prints now and then what has happened.
func (p *phase) progress(ctx context.Context) error {
	begun := time.Now()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Println(p.line(time.Since(begun)))
			return nil
		case <-tick.C:
			fmt.Println(p.line(time.Since(begun)))
		}
	}
}

// line is one line of it.
func (p *phase) line(since time.Duration) string {
	said, queued := 0, 0
	for i := range p.ports {
		said += p.devices[i].count()
		queued += p.senders[i].count()
	}
	a := p.actor
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.done
	return fmt.Sprintf("%s %3.0f s: workers killed %d, stopped %d; supervisor killed %d, ended %d, stopped %d; devices unplugged %d, deaf %d; clients killed %d, stopped %d; not there %d; %d frames said, %d queued",
		p.name, since.Seconds(), d[killReader]+d[killWriter]+d[killBoth]+d[killAll]+d[killAgain], d[stopReader]+d[stopWriter], d[killSupervisor], d[endSupervisor], d[stopSupervisor],
		d[unplug]+d[unplugCut]+d[unplugDeaf]+d[unplugKilled], d[beDeaf], d[killTap]+d[killSender], d[stopTap]+d[stopSender], a.missed, said, queued)
}
