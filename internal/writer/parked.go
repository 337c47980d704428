package writer

import (
	"crypto/subtle"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serialvisor/serialvisor/internal/crash"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/ring"
	"github.com/serialvisor/serialvisor/internal/worker"
)

// parkedBytes is how much of the frames that wait for a lease to end is kept. What is beyond is handed out again to a
// successor.
const parkedBytes = 16 << 20

// parkedCost is what keeping a frame takes, beside its bytes.
const parkedCost = 512

// parked are frames of the queue that wait because another client has a lease, in order. They are not acknowledged, so that a
// successor gets them too.
type parked struct {
	mu       sync.Mutex // held while a frame of the queue is handled, before the writer's; guards all below
	frames   []parkedFrame
	bytes    int
	overflow bool        // there are more that were not kept
	version  uint64      // the number of the lease that they wait for
	expiry   *time.Timer // looks when that is over
	last     uint64      // the number of the delivery that came last, parked or not
}

type parkedFrame struct {
	m    jetstream.Msg
	meta *jetstream.MsgMetadata
}

// any says whether frames wait. mu must be held.
func (p *parked) any() bool { return len(p.frames) > 0 || p.overflow }

// leasedToOther returns the lease if it keeps a message with some headers from being written. mu must be held.
func (w *writer) leasedToOther(h nats.Header) (ring.Lease, bool) {
	if w.leaseVersion != w.Ring.LeaseVersion() {
		w.lease, w.leaseVersion = w.Ring.Lease()
	}
	if w.lease.Left() == 0 {
		return w.lease, false
	}
	return w.lease, subtle.ConstantTimeCompare([]byte(h.Get(ipc.HeaderLease)), []byte(w.lease.Token)) != 1
}

// staleToken says whether a message shows the token of a lease while there is none: the lease that it was of is over, and its
// sender does not know. mu must be held, and leasedToOther be called before.
func (w *writer) staleToken(h nats.Header) bool {
	return h.Get(ipc.HeaderLease) != "" && w.lease.Left() == 0
}

// staleReason is what such a sender is told.
const staleReason = "the token is not that of a lease; the one that it was of is over"

// park puts a frame aside, for the lease with some number. parked.mu must be held.
func (w *writer) park(m jetstream.Msg, meta *jetstream.MsgMetadata, lease uint64) {
	p := &w.parked
	crash.Point("tx-parked")
	if !p.any() {
		w.watchLease(lease)
	}
	if cost := len(m.Data()) + parkedCost; p.overflow || p.bytes+cost > parkedBytes {
		p.overflow = true
	} else {
		p.frames = append(p.frames, parkedFrame{m, meta})
		p.bytes += cost
	}
}

// watchLease has somebody look when the lease is over that the parked frames wait for. If it changes before, the supervisor
// says so. parked.mu must be held.
func (w *writer) watchLease(version uint64) {
	lease, _ := w.Ring.Lease()
	w.parked.version = version
	w.parked.expiry = time.AfterFunc(lease.Left(), w.leaseChanged)
}

// leaseChanged writes what may be written now.
func (w *writer) leaseChanged() {
	w.parked.mu.Lock()
	defer w.parked.mu.Unlock()
	w.unpark()
	w.handled(w.parked.last)
}

// unpark writes the parked frames, in order, that wait for the lease no more. parked.mu must be held.
func (w *writer) unpark() {
	p := &w.parked
	if !p.any() {
		return
	}
	lease, version := w.Ring.Lease()
	if version == p.version && lease.Left() > 0 {
		return // as when they were put aside
	}
	if p.overflow && lease.Left() == 0 {
		// To a successor the queue hands out all of them again, in order.
		w.mu.Lock()
		w.fail(worker.ErrAgain)
		w.mu.Unlock()
		return
	}
	p.expiry.Stop()
	var left []parkedFrame
	p.bytes = 0
	for _, f := range p.frames {
		if wait, _ := w.writeQueued(f.m, f.meta, len(left) > 0); wait {
			left = append(left, f)
			p.bytes += len(f.m.Data()) + parkedCost
		}
		crash.Point("tx-unparked")
	}
	p.frames = left
	if p.any() {
		w.watchLease(version)
	}
}
