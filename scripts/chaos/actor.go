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
	done   [deeds]int
	missed int // there was nothing to do it to
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
		if e.length == 0 && e.deed != killSupervisor {
			a.do(e)
		} else {
			lasting.Go(func() { a.do(e) })
		}
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
	hit := a.act(e)
	a.mu.Lock()
	defer a.mu.Unlock()
	text := e.words(a.phase.ports)
	if hit {
		a.done[e.deed]++
	} else {
		a.missed++
		text += " (not there)"
	}
	ended := time.Now()
	text = fmt.Sprintf("%s, done after %d ms", text, ended.Sub(began).Milliseconds())
	a.past = append(a.past, pastEvent{e, began.UnixNano(), ended.UnixNano(), hit, text})
	fmt.Fprintf(a.log, "%s  %9.3f s  %s\n", began.Format("15:04:05.000000"), e.at.Seconds(), text)
}

// act returns false if there was nothing to act on.
func (a *actor) act(e event) bool {
	p, name := a.phase, ""
	var device *device
	if e.deed.ofPort() {
		name, device = p.ports[e.port].name, p.devices[e.port]
	}
	switch e.deed {
	case killReader, stopReader:
		return a.toWorker(name+"/reader", e.length)
	case killWriter, stopWriter:
		return a.toWorker(name+"/writer", e.length)
	case killBoth:
		reader, writer := a.toWorker(name+"/reader", 0), a.toWorker(name+"/writer", 0)
		return reader || writer
	case killAll:
		hit := false
		for _, port := range p.ports {
			hit = a.toWorker(port.name+"/reader", 0) || hit
			hit = a.toWorker(port.name+"/writer", 0) || hit
		}
		return hit
	case killSupervisor, endSupervisor:
		signal := syscall.SIGKILL
		if e.deed == endSupervisor {
			signal = syscall.SIGTERM
		}
		if !p.gateway.end(signal) {
			return false
		}
		a.wait(e.length)
		if err := p.gateway.start(); err != nil {
			p.gateway.fail(err.Error())
		}
		return true
	case stopSupervisor:
		return a.toPID(p.gateway.pid(), e.length)
	case unplug, unplugCut, unplugDeaf:
		if e.deed == unplugDeaf {
			device.beDeaf(e.length)
			a.wait(e.length)
		}
		if !device.unplug(e.deed == unplugCut) {
			return false
		}
		a.wait(e.length)
		if err := device.plugIn(); err != nil {
			p.gateway.fail(err.Error())
		}
		return true
	case beDeaf:
		device.beDeaf(e.length)
		return true
	case killTap, stopTap:
		return a.toPID(p.spectator.pid(), e.length)
	case killSender, stopSender:
		return a.toPID(p.senders[e.port].pid(), e.length)
	}
	panic("unknown deed")
}

// toWorker kills a worker, or stops it for a time.
func (a *actor) toWorker(name string, length time.Duration) bool {
	v, ok := a.phase.gateway.worker(name)
	return ok && a.strike(v, length)
}

// toPID does it to another process.
func (a *actor) toPID(pid int, length time.Duration) bool {
	if pid == 0 {
		return false
	}
	v, err := hold(pid)
	return err == nil && a.strike(v, length)
}

// strike kills a victim, or stops it for a time, and releases it.
func (a *actor) strike(v victim, length time.Duration) bool {
	defer v.release()
	if length == 0 {
		return v.signal(syscall.SIGKILL)
	}
	if !v.signal(syscall.SIGSTOP) {
		return false
	}
	a.wait(length)
	return v.signal(syscall.SIGCONT)
}
