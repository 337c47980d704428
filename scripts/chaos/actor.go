package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// actor does what a schedule says.
type actor struct {
	phase *phase
	log   *os.File
	over  <-chan struct{} // closed when what lasts is to end

	mu     sync.Mutex // guards all below
	done   [deeds]int // to how many
	missed int        // there was nothing to do it to
	past   []pastEvent
}

// pastEvent is an event that was done, from a time to another, in ns since 1970.
type pastEvent struct {
	event
	began, to int64
	hit       bool // it was done to something
	text      string
}

// Run does events until ctx ends, each at its time, and waits for those that last.
func (a *actor) Run(ctx context.Context, s *schedule) error {
	a.over = ctx.Done()
	begun := time.Now()
	var lasting sync.WaitGroup
	defer lasting.Wait()
	for {
		e := s.next()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(begun.Add(e.at))):
		}
		lasting.Go(func() { a.do(e) })
	}
}

// wait lets time pass.
func (a *actor) wait(length time.Duration) {
	select {
	case <-a.over:
	case <-time.After(length):
	}
}

// do does one event, to its end.
func (a *actor) do(e event) {
	began := time.Now()
	count := a.act(e)
	a.mu.Lock()
	defer a.mu.Unlock()
	text := e.words(a.phase.ports)
	if a.done[e.deed] += count; count == 0 {
		a.missed++
		text += " (not there)"
	}
	ended := time.Now()
	text = fmt.Sprintf("%s, done after %d ms", text, ended.Sub(began).Milliseconds())
	a.past = append(a.past, pastEvent{e, began.UnixNano(), ended.UnixNano(), count > 0, text})
	fmt.Fprintf(a.log, "%s  %9.3f s  %s\n", began.Format("15:04:05.000000"), e.at.Seconds(), text)
}

// act returns to how many it was done; 0: there was nothing to act on.
func (a *actor) act(e event) int {
	p := a.phase
	name, device := p.ports[e.port].name, p.devices[e.port]
	switch e.deed {
	case killReader, stopReader:
		return a.strike(e, a.workers(name+"/reader"))
	case killWriter, stopWriter:
		return a.strike(e, a.workers(name+"/writer"))
	case killBoth:
		return a.strike(e, a.workers(name+"/reader", name+"/writer"))
	case killAll:
		var names []string
		for _, port := range p.ports {
			names = append(names, port.name+"/reader", port.name+"/writer")
		}
		return a.strike(e, a.workers(names...))
	case killSupervisor, endSupervisor:
		return a.restart(e)
	case stopSupervisor:
		return a.strike(e, held(p.gateway.pid()))
	case killAgain:
		hit := 0
		for range 2 + e.port {
			hit += a.strike(e, a.await(name+"/reader", name+"/writer"))
		}
		return hit
	case unplug, unplugCut, unplugDeaf, unplugKilled:
		switch e.deed {
		case unplugDeaf:
			device.beDeaf(e.length)
			a.wait(e.length)
		case unplugKilled:
			kill := e
			kill.length = 0
			a.strike(kill, a.workers(name+"/reader", name+"/writer"))
		}
		if !device.unplug(e.deed == unplugCut) {
			return 0
		}
		a.wait(e.length)
		if err := device.plugIn(); err != nil {
			p.gateway.fail(err.Error())
		}
		return 1
	case beDeaf:
		device.beDeaf(e.length)
		return 1
	case killTap, stopTap:
		return a.strike(e, held(p.spectator.pid()))
	case killSender, stopSender:
		return a.strike(e, held(p.senders[e.port].pid()))
	}
	panic("unknown deed")
}

// restart ends the supervisor, and starts it again after a time.
func (a *actor) restart(e event) int {
	signal := syscall.SIGKILL
	if e.deed == endSupervisor {
		signal = syscall.SIGTERM
	}
	a.awaitBytes(e)
	g := a.phase.gateway
	if !g.end(signal) {
		return 0
	}
	a.wait(e.length)
	if err := g.start(); err != nil {
		g.fail(err.Error())
	}
	return 1
}

// mostWait is how long bytes are waited for.
const mostWait = 150 * time.Millisecond

// awaitBytes waits until a moment after the device of an event has begun to say something, or has got something.
func (a *actor) awaitBytes(e event) {
	select {
	case <-a.phase.devices[e.port].nextBytes(e.deed.toDevice()):
		time.Sleep(e.behind)
	case <-time.After(mostWait):
	case <-a.over:
	}
}

// workers holds those of some names that there are.
func (a *actor) workers(names ...string) (victims []victim) {
	for _, name := range names {
		if v, ok := a.phase.gateway.worker(name); ok {
			victims = append(victims, v)
		}
	}
	return victims
}

// await waits a moment for all of some workers to be there.
func (a *actor) await(names ...string) (victims []victim) {
	for range 30 {
		if victims = a.workers(names...); len(victims) == len(names) {
			return victims
		}
		for _, v := range victims {
			v.release()
		}
		a.wait(time.Millisecond)
	}
	return nil
}

// held holds a process by its pid, if there is one.
func held(pid int) []victim {
	if pid == 0 {
		return nil
	}
	v, err := hold(pid)
	if err != nil {
		return nil
	}
	return []victim{v}
}

// strike kills victims, or stops them for a time, and releases them. It returns how many there were.
func (a *actor) strike(e event, victims []victim) (hit int) {
	switch {
	case e.deed == killAgain:
		time.Sleep(2 * e.behind) // it begins to work
	case len(victims) > 0:
		a.awaitBytes(e)
	}
	signal := syscall.SIGKILL
	if e.length > 0 {
		signal = syscall.SIGSTOP
	}
	for _, v := range victims {
		if v.signal(signal) {
			hit++
		}
	}
	if e.length > 0 && hit > 0 {
		a.wait(e.length)
	}
	for _, v := range victims {
		if e.length > 0 {
			v.signal(syscall.SIGCONT)
		}
		v.release()
	}
	return hit
}
