package broker

import (
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// laggardLook is how often the clients are looked at that do not keep up.
	laggardLook = 100 * time.Millisecond
	// othersPending is how much may wait for all other clients than the one for which most waits.
	othersPending = 12 << 20
	// muchPending is how much waits for all clients together when memory is collected more often, which is twice what is in use
	// else.
	muchPending  = 8 << 20
	collectOften = 25 // percent, see debug.SetGCPercent
	// smallPending is what may wait for any client in any case.
	smallPending = 1 << 20
	// littleSent is how much must have been sent since a look at which nothing waited for anybody, for another to be worth it:
	// a look at hundreds of idle clients, ten times a second, takes more time than all that they do.
	littleSent = smallPending / 4
)

// cutLaggards cuts off the clients for which so much waits that the server drops what else comes for them. It would do so
// without a word; a client that is cut off knows that it has missed something. The server itself could have publishers
// wait for such clients instead, up to 10 ms at a time, and with them everybody else. When too much waits for all together,
// those for which most does are cut off.
func (b *Broker) cutLaggards() {
	sent, err := b.sent()
	if err != nil || !b.laggards.waiting && sent-b.laggards.sent < littleSent {
		return // of an error this version has none
	}
	connections, err := b.server.Connz(&server.ConnzOptions{Sort: server.ByPending, Limit: 1024, Username: true})
	if err != nil {
		return // never, with these options
	}
	all := int64(0)
	for _, c := range connections.Conns {
		all += int64(c.Pending)
	}
	b.laggards.waiting, b.laggards.sent = all > 0, sent
	b.collect(all > muchPending)
	cut := false
	defer func() {
		if cut {
			runtime.GC() // what waited for them is much, and would else be doubled before it is given back
		}
	}()
	for _, c := range connections.Conns {
		// Beyond three quarters of what may wait the server drops.
		pending := int64(c.Pending)
		if pending <= b.maxPending()/4*3 && (all-pending <= othersPending || pending <= smallPending) {
			return
		}
		all -= pending
		cut = true
		b.opts.Log.Warn("a client that does not keep up is cut off", "user", c.AuthorizedUser, "address", c.IP, "name", c.Name, "waiting_bytes", c.Pending)
		b.laggards.add(fmt.Sprint(c.Cid))
		_ = b.server.DisconnectClientByID(c.Cid) // an error means that it has left
	}
}

// sent is how many bytes the server has had for clients, those that wait included.
func (b *Broker) sent() (bytes int64, err error) {
	figures, err := b.server.AccountStatz(&server.AccountStatzOptions{})
	if err != nil {
		return 0, err
	}
	for _, a := range figures.Accounts {
		bytes += a.Sent.Bytes
	}
	return bytes, nil
}

// laggards are the clients that were cut off. The zero value is none.
type laggards struct {
	waiting bool  // something was, for any client, at the last look; Watch's
	sent    int64 // what was sent until then; Watch's

	mu     sync.Mutex // guards the rest
	count  uint64
	recent []string // the numbers of the last ones
}

// mostRecent is how many are known by their numbers: of one that this package cuts off the server speaks too, seconds later.
const mostRecent = 256

// add notes a client, and says whether it is new.
func (l *laggards) add(number string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.recent, number) {
		return false
	}
	l.count++
	l.recent = append(l.recent, number)
	if len(l.recent) > mostRecent {
		l.recent = slices.Delete(l.recent, 0, 1)
	}
	return true
}

// total counts them.
func (l *laggards) total() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// slowNotice is what the server says when it cuts off a client that does not read, with the client's number.
var slowNotice = regexp.MustCompile(` - cid:(\d+) - .*Slow Consumer Detected: `)

// maxPending is how much may wait for a client.
func (b *Broker) maxPending() int64 { return int64(max(server.MAX_PENDING_SIZE, 4*b.opts.MaxFrame)) }

// collect has the memory that clients have left be collected more often than usual, or as usual.
func (b *Broker) collect(often bool) {
	switch {
	case often && b.usualGC == 0:
		b.usualGC = debug.SetGCPercent(collectOften)
	case !often && b.usualGC != 0:
		debug.SetGCPercent(b.usualGC)
		b.usualGC = 0
	}
}
