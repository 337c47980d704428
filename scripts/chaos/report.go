package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// report is what a phase has come to.
type report struct {
	phase  *phase
	rows   []row
	checks []checked
}

// row is the account of a port.
type row struct {
	port     portPlan
	received receivedCounts
	written  writtenCounts
	rx, tx   liveCounts
}

// checked is something that must hold, and why it does not.
type checked struct {
	what     string
	port     string // of one; empty: of all
	problems []problem
}

func (r *report) failed() (n int) {
	for _, c := range r.checks {
		if len(c.problems) > 0 {
			n++
		}
	}
	return n
}

// check compares, now that all is at rest.
func (p *phase) check(ctx context.Context) (*report, error) {
	r := &report{phase: p}
	nc, err := connect(p.gateway.stateDir(), ipc.RoleTap)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	defer nc.Close()
	now := time.Now().UnixNano()
	for i, port := range p.ports {
		d := p.devices[i]
		t := terms{keeps: p.keeps, plug: port.plug, room: p.room, endings: p.gateway.ends}
		longest := maxText
		if port.binary {
			longest = maxBinary
		}
		rx := newReceived(t, d.speech, longest, d.said)
		tx := newWritten(t, d.order, p.senders[i].asked)
		err := errors.Join(
			readHistory(ctx, nc, subjects.Rx(port.name), rx.add),
			readHistory(ctx, nc, subjects.Sent(port.name), tx.add))
		if err != nil {
			return nil, err
		}
		row := row{port: port, received: rx.finish(now)}
		r.checks = append(r.checks, checked{"what the device of " + port.name + " said is stored once and in order", port.name, rx.problems})
		tx.finishSent(now)
		r.checks = append(r.checks, checked{"what was queued for " + port.name + " is in the history as sent once and in order", port.name, tx.problems})
		tx.problems = nil
		row.written = tx.compare(d.got, now)
		r.checks = append(r.checks, checked{"what was queued for " + port.name + " came to the device once, whole and in order", port.name, tx.problems})
		watched := p.compareLive(&row, t, port.name, rx, tx, now)
		r.checks = append(r.checks, checked{"a tap of " + port.name + " missed nothing", port.name, watched})
		r.rows = append(r.rows, row)
	}
	r.checks = append(r.checks, checked{"the supervisor of phase " + p.name + " ran, and ended when asked to", "", p.gateway.problems})
	return r, nil
}

// compareLive compares what the tap has seen of a port with the history.
func (p *phase) compareLive(row *row, t terms, port string, rx *received, tx *written, now int64) []problem {
	// Places in the history are counted over all its sessions.
	begins := map[string]int{}
	total := 0
	for _, session := range rx.order {
		begins[session] = total
		total += len(rx.offsets[session])
	}
	seen := p.tap.sights[subjects.Rx(port)]
	l := live{terms: t}
	l.compare(seen, func(at place) (int, bool) {
		session := seen.sessions[at.session]
		i, ok := slices.BinarySearch(rx.offsets[session], at.number)
		return begins[session] + i, ok
	}, func(i int) (string, int64) {
		k := sort.Search(len(rx.order), func(k int) bool { return begins[rx.order[k]] > i }) - 1
		session := rx.order[k]
		return fmt.Sprintf("offset %d of session %s", rx.offsets[session][i-begins[session]], session), rx.times[session][i-begins[session]]
	}, now)
	row.rx = l.counts
	s := live{terms: t}
	s.compare(p.tap.sights[subjects.Sent(port)], func(at place) (int, bool) {
		return slices.BinarySearchFunc(tx.sent, at.number, func(t telling, queue uint64) int { return cmp.Compare(t.queue, queue) })
	}, func(i int) (string, int64) { return fmt.Sprintf("sent sequence %d", tx.sent[i].queue), tx.sent[i].at }, now)
	row.tx = s.counts
	return append(l.problems, s.problems...)
}
