package client

import (
	"context"
	"time"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// joiner follows what ports receive, and finds what is missing of it.
type joiner struct {
	o       TapOptions
	ports   map[string]*Rebuilder
	missing map[string]uint64 // bytes by port that were not told
	told    time.Time

	reconnects, drops uint64 // of the client, as they were
	doubtful          int    // of so many messages from the next one on it is not known whether some before them are missing
	stale             bool   // the ports' framing may be another now
}

func newJoiner(s ipc.Status, o TapOptions) (*joiner, error) {
	ports, err := Rebuilders(s)
	return &joiner{o: o, ports: ports, missing: map[string]uint64{}}, err
}

// watch looks, with a message in hand, whether messages were missed before it; so many wait behind it. Where framing skips
// delimiters, the bytes between two frames are not taken for those then.
func (j *joiner) watch(c *Client, waiting int) {
	// Of reconnects the library is asked, whose handler is called when messages have come since. Of those that were dropped it
	// tells long before: a whole backlog stands in front of them.
	reconnects, drops := c.nc.Stats().Reconnects, c.drops.Load()
	j.stale = j.stale || reconnects != j.reconnects
	if reconnects != j.reconnects || drops != j.drops {
		j.doubtful = 1 + waiting + 1 // all that is here may have come before, and then the first of each port after it is doubtful
	}
	j.reconnects, j.drops = reconnects, drops
	if j.doubtful == 0 {
		return
	}
	j.doubtful--
	for _, b := range j.ports {
		b.doubt = true // until the port's next frame
	}
}

// refresh asks for the framing of a supervisor that was started again.
func (j *joiner) refresh(ctx context.Context, c *Client) {
	if !j.stale {
		return
	}
	if _, status, err := c.StatusJSON(ctx); err == nil && adapt(j.ports, status) == nil {
		j.stale = false
	}
}

// take notes a record, and adds what was on the line if that is asked for.
func (j *joiner) take(r *capture.Record) {
	b, known := j.ports[r.Port]
	if r.Kind != capture.Rx || !known {
		return
	}
	wire, missing := b.bytes(*r)
	if j.o.Wire {
		r.Wire = wire
	}
	if missing == 0 {
		return
	}
	j.missing[r.Port] += missing
	if time.Since(j.told) > time.Second {
		j.tell()
	}
}

// tell says what is missing and was not told.
func (j *joiner) tell() {
	for port, bytes := range j.missing {
		if j.o.Missed != nil {
			j.o.Missed(port, bytes)
		}
		delete(j.missing, port)
		j.told = time.Now()
	}
}
