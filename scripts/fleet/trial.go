package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/scripts/usage"
)

// trial is one run, with what was measured.
type trial struct {
	ctx context.Context
	net *network
	hub *hub
	all []*gateway

	lost, doubled            int
	noticeCut, noticeSwallow time.Duration // until the gateway knows
	fullCut, fullSwallow     time.Duration // from the return until the hub has all
	behindCut                uint64        // at the return
	withoutOne, withoutLead  silence       // a server of the hub, the one that leads the stream
	hubCPU, gatewayCPU       float64       // cores
	hubPSS, gatewayPSS       float64       // MiB of a server, of a gateway with its workers
	perSecond                float64       // messages that the hub stores
	total                    int           // lines
	idleBytes                float64       // an hour, of a gateway whose devices say nothing, both ways
	up, down                 float64       // bytes of a link for each line, the lines' own included
}

// measure has everything happen.
func (t *trial) measure() error {
	if err := t.measureIdle(); err != nil {
		return err
	}
	for _, g := range t.all {
		g.say(time.Duration(float64(time.Second) / *rate))
	}
	if err := t.measureLoad(); err != nil {
		return err
	}
	if err := t.measureLinks(); err != nil {
		return err
	}
	if err := t.measureKill(); err != nil {
		return err
	}
	for _, g := range t.all {
		g.hush()
	}
	for _, g := range t.all {
		if err := g.await(t.ctx, func(l leaf) bool { return l.Connected && l.Behind == 0 }); err != nil {
			return fmt.Errorf("%s does not catch up: %w", g.name, err)
		}
	}
	return t.account()
}

// measureIdle measures what passes over the links when nothing happens.
func (t *trial) measureIdle() error {
	before, begun := 0.0, time.Now()
	for i := range t.all {
		up, down := t.net.bytes(i)
		before += up + down
	}
	if err := pause(t.ctx, *steady); err != nil {
		return err
	}
	after := 0.0
	for i := range t.all {
		up, down := t.net.bytes(i)
		after += up + down
	}
	t.idleBytes = (after - before) / float64(len(t.all)) / time.Since(begun).Hours()
	return nil
}

// measureLoad measures what all takes while nothing fails.
func (t *trial) measureLoad() error {
	var gatewayPIDs, hubPIDs []int
	for _, g := range t.all {
		s, err := g.status(t.ctx)
		if err != nil {
			return err
		}
		gatewayPIDs = append(gatewayPIDs, s.PID)
		for _, w := range s.Workers {
			gatewayPIDs = append(gatewayPIDs, w.PID)
		}
	}
	for _, cmd := range t.hub.cmds {
		hubPIDs = append(hubPIDs, cmd.Process.Pid)
	}
	before, err := t.hub.stored(t.ctx)
	if err != nil {
		return err
	}
	up, down := t.net.bytes(0)
	gatewaysRan, hubRan, begun := cpu(gatewayPIDs), cpu(hubPIDs), time.Now()
	if err := pause(t.ctx, *steady); err != nil {
		return err
	}
	seconds := time.Since(begun).Seconds()
	upNow, downNow := t.net.bytes(0)
	said := seconds * *rate * float64(*ports)
	t.up, t.down = (upNow-up)/said, (downNow-down)/said
	after, err := t.hub.stored(t.ctx)
	if err != nil {
		return err
	}
	t.perSecond = float64(after-before) / seconds
	t.gatewayCPU, t.hubCPU = (cpu(gatewayPIDs)-gatewaysRan)/seconds, (cpu(hubPIDs)-hubRan)/seconds
	t.gatewayPSS, t.hubPSS = pss(gatewayPIDs)/float64(len(t.all)), pss(hubPIDs)/servers
	return nil
}

// measureLinks pulls the cable of one gateway, and has the packets of another vanish.
func (t *trial) measureLinks() error {
	cut, swallowed := t.all[0], t.all[1%len(t.all)]
	gone := time.Now()
	if err := t.net.cut(0, true); err != nil {
		return err
	}
	if err := t.net.swallow(1%len(t.all), true); err != nil {
		return err
	}
	noticed := func(g *gateway, to *time.Duration) func() error {
		return func() error {
			err := g.await(t.ctx, func(l leaf) bool { return !l.Connected })
			*to = time.Since(gone)
			return err
		}
	}
	if err := both(noticed(cut, &t.noticeCut), noticed(swallowed, &t.noticeSwallow)); err != nil {
		return fmt.Errorf("a dead link is not noticed: %w", err)
	}
	if err := pause(t.ctx, *cutFor-time.Since(gone)); err != nil {
		return err
	}
	if s, err := cut.status(t.ctx); err == nil {
		t.behindCut = s.Leaf.Behind
	}
	back := time.Now()
	if err := t.net.cut(0, false); err != nil {
		return err
	}
	if err := t.net.swallow(1%len(t.all), false); err != nil {
		return err
	}
	full := func(g *gateway, to *time.Duration) func() error {
		return func() error {
			// While lines come some are always under way.
			err := g.await(t.ctx, func(l leaf) bool { return l.Connected && l.Behind <= uint64(*ports) })
			*to = time.Since(back)
			return err
		}
	}
	if err := both(full(cut, &t.fullCut), full(swallowed, &t.fullSwallow)); err != nil {
		return fmt.Errorf("a gateway does not catch up: %w", err)
	}
	return nil
}

// measureKill kills a server that does not lead the stream, and then the one that does.
func (t *trial) measureKill() (err error) {
	leader, err := t.hub.leader(t.ctx)
	if err != nil {
		return err
	}
	if t.withoutOne, err = t.kill((leader + 1) % servers); err != nil {
		return err
	}
	if leader, err = t.hub.leader(t.ctx); err != nil {
		return err
	}
	t.withoutLead, err = t.kill(leader)
	return err
}

// silence is the longest time for which a subscriber of the hub heard nothing of some gateway, and nothing that was stored.
type silence struct{ all, stored time.Duration }

// settled is how long after the loss of a server its hub is watched: an election takes up to 9 s, and what waited comes after that.
const settled = 20 * time.Second

// kill kills a server and returns what silence there was. Then the server is started again, and it is waited until all have caught up.
func (t *trial) kill(i int) (quiet silence, err error) {
	heard := make(chan *nats.Msg, 1<<16)
	sub, err := t.hub.admin.ChanSubscribe("fleet.*.*.rx", heard)
	if err != nil {
		return quiet, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := t.hub.admin.Flush(); err != nil {
		return quiet, err
	}
	begun := time.Now()
	all, stored, current := map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	for _, g := range t.all {
		all[g.name], stored[g.name] = begun, begun
	}
	hear := func(longest *time.Duration, last map[string]time.Time, name string) {
		now := time.Now()
		*longest, last[name] = max(*longest, now.Sub(last[name])), now
	}
	t.hub.kill(i)
	late := time.After(3 * time.Minute)
	for len(current) < len(t.all) {
		select {
		case m := <-heard:
			name := strings.Split(m.Subject, ".")[1]
			hear(&quiet.all, all, name)
			if m.Header.Get(ipc.HeaderUnstored) != "" {
				continue
			}
			hear(&quiet.stored, stored, name)
			if received, err := time.Parse(time.RFC3339Nano, m.Header.Get("Serial-Time")); err == nil && received.Sub(begun) > settled {
				current[name] = true
			}
		case <-late:
			return quiet, fmt.Errorf("traffic of %d gateways does not come back without a server of the hub", len(t.all)-len(current))
		}
	}
	if err := t.hub.start(i); err != nil {
		return quiet, err
	}
	for _, g := range t.all {
		if err := g.await(t.ctx, func(l leaf) bool { return l.Connected && l.Behind <= uint64(*ports) }); err != nil {
			return quiet, fmt.Errorf("%s does not catch up after a server of the hub was killed: %w", g.name, err)
		}
	}
	return quiet, nil
}

// account compares what the devices have said with what the hub has.
func (t *trial) account() error {
	stored, err := t.hub.lines(t.ctx)
	if err != nil {
		return err
	}
	for _, g := range t.all {
		for i, said := range g.said {
			t.total += said
			seen := map[string]int{}
			for _, line := range stored[fmt.Sprintf("fleet.%s.p%d.rx", g.name, i)] {
				if seen[line]++; seen[line] > 1 {
					t.doubled++
				}
			}
			for n := range said {
				if seen[fmt.Sprintf("line %d", n)] == 0 {
					t.lost++
				}
			}
		}
	}
	return nil
}

// print prints the table, and says whether all holds.
func (t *trial) print() (good bool) {
	good = true
	fmt.Printf("%d gateways with %d ports each, %g lines a second and port, %d lines in all; a hub of %d servers, three replicas.\n\n", len(t.all), *ports, *rate, t.total, servers)
	fmt.Println("| | limit | measured | |\n|---|---|---|---|")
	row := func(what string, limit, measured float64, unit string) {
		verdict := "holds"
		if measured > limit {
			verdict, good = "FAILS", false
		}
		fmt.Printf("| %s | %g%s | %.4g%s | %s |\n", what, limit, unit, measured, unit, verdict)
	}
	note := func(what string, measured float64, unit string) {
		fmt.Printf("| %s | – | %.4g%s | |\n", what, measured, unit)
	}
	row("lines lost", 0, float64(t.lost), "")
	row("lines stored twice", 0, float64(t.doubled), "")
	row("black hole: until the gateway notices", 15, t.noticeSwallow.Seconds(), " s")
	row("cable pulled: until the gateway notices", 15, t.noticeCut.Seconds(), " s")
	note(fmt.Sprintf("cable pulled for %s: messages behind at its return", *cutFor), float64(t.behindCut), "")
	row("until the hub has all after the return, cable", 30, t.fullCut.Seconds(), " s")
	row("the same, black hole", 30, t.fullSwallow.Seconds(), " s")
	for _, killed := range []struct {
		who   string
		quiet silence
	}{{"a server of the hub", t.withoutOne}, {"the one that leads the stream", t.withoutLead}} {
		row(killed.who+" killed: the longest that a subscriber hears nothing of a gateway", 5, killed.quiet.all.Seconds(), " s")
		note("the same, of what is stored", killed.quiet.stored.Seconds(), " s")
	}
	note("messages that the hub stores", t.perSecond, "/s")
	note("bytes to the hub for each line of some 10 bytes, TCP/IP included", t.up, " B")
	note("bytes from the hub for each line", t.down, " B")
	note("bytes both ways of a gateway whose devices say nothing", t.idleBytes/1e3, " kB/h")
	note("CPU of all gateways with their workers", t.gatewayCPU, " cores")
	note("CPU of the hub's servers together", t.hubCPU, " cores")
	note("PSS of a gateway with its workers", t.gatewayPSS, " MiB")
	note("PSS of a server of the hub", t.hubPSS, " MiB")
	return good
}

// both does two things at once.
func both(a, b func() error) error {
	failed := make(chan error, 1)
	go func() { failed <- a() }() // waited for below
	err := b()
	if other := <-failed; other != nil {
		return other
	}
	return err
}

func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
		return nil
	}
}

// cpu is what processes have run, in seconds.
func cpu(pids []int) (seconds float64) {
	for _, pid := range pids {
		seconds += usage.CPU(pid)
	}
	return seconds
}

// pss is what processes have in memory, in MiB.
func pss(pids []int) (mib float64) {
	for _, pid := range pids {
		_, pss := usage.Memory(pid)
		mib += pss
	}
	return mib
}
