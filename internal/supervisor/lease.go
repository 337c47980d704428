package supervisor

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/nats-io/nats.go/micro"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/ring"
)

const (
	// lookAlive is how often it is looked whether a holder is still there, while there is one who wants that.
	lookAlive = 100 * time.Millisecond
	// comeBack is how long a holder has to connect to a supervisor that took the lease over from another.
	comeBack = 5 * time.Second
)

// lease keeps the right to write to a port. It lives in the port's memory, where the writer looks it up, and so outlives
// writers and, like the memory, supervisors.
type lease struct {
	port   string
	ring   *ring.Ring
	broker *broker.Broker
	news   string // the subject on which the writer is told of changes
	log    *slog.Logger

	mu      sync.Mutex  // held while the lease is looked at or changed; guards all below
	watch   *time.Timer // looks whether it is over; nil: there is none
	grace   time.Time   // until then a holder need not be there
	stopped bool
}

// resume goes on with a lease that a supervisor before has left.
func (l *lease) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grace = time.Now().Add(comeBack)
	l.look()
}

// stop looks at the lease no more: when the broker ends its holder is gone, and may come back to another supervisor.
func (l *lease) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.watch != nil {
		l.watch.Stop()
	}
}

// status is the lease that is held, or nil.
func (l *lease) status() *ipc.LeaseStatus {
	held, _ := l.ring.Lease()
	if left := held.Left(); left > 0 {
		return &ipc.LeaseStatus{Holder: held.Holder, Expires: time.Now().Add(left).UTC().Round(time.Millisecond)}
	}
	return nil
}

// heldByOther says who has the lease, and for how long, if it is not the client with a token; 0: nobody else.
func (l *lease) heldByOther(token string) (holder string, left time.Duration) {
	held, _ := l.ring.Lease()
	if subtle.ConstantTimeCompare([]byte(token), []byte(held.Token)) == 1 {
		return "", 0
	}
	return held.Holder, held.Left()
}

// answer answers a lease request.
func (l *lease) answer(r micro.Request) {
	reply, refusal := l.handle(r.Data())
	var err error
	if refusal != nil {
		var body []byte
		if reply != nil {
			body, _ = json.Marshal(reply) // of plain data
		}
		err = r.Error(strconv.Itoa(refusal.code), refusal.Error(), body)
	} else {
		err = r.RespondJSON(reply)
	}
	if err != nil {
		l.log.Debug("a lease request was not answered", "port", l.port, "error", err)
	}
}

// handle does what a request asks for.
func (l *lease) handle(request []byte) (*ipc.LeaseReply, *controlError) {
	wish, ttl, err := parseLease(request)
	if err != nil {
		return nil, refuse(ipc.CodeBadRequest, "port %s: %v", l.port, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	held, _ := l.ring.Lease()
	left := held.Left()
	own := left > 0 && subtle.ConstantTimeCompare([]byte(wish.Token), []byte(held.Token)) == 1
	switch {
	case wish.Action == ipc.LeaseShow:
		return l.reply(), nil
	case wish.Action == ipc.LeaseRelease && left == 0:
		return l.reply(), nil // as it was to be
	case wish.Action == ipc.LeaseAcquire && left > 0 && !own:
		return l.reply(), refuse(ipc.CodeLeased, "port %s: %s", l.port, ipc.HeldBy(held.Holder, left))
	case wish.Action != ipc.LeaseAcquire && !own:
		return l.reply(), refuse(ipc.CodeForbidden, "port %s: the token is not that of the lease; the one that it was of is over", l.port)
	case wish.Action == ipc.LeaseRelease:
		l.end("it was released")
		return l.reply(), nil
	}
	if wish.Alive != "" && !l.broker.Subscribed(wish.Alive) {
		return nil, refuse(ipc.CodeBadRequest, "port %s: alive: nobody is subscribed to %s", l.port, wish.Alive)
	}
	next := ring.Lease{Token: held.Token, Holder: held.Holder, Alive: held.Alive, Expires: ring.Now() + ttl}
	if !own {
		next = ring.Lease{Token: broker.NewPassword(), Holder: wish.Holder, Alive: wish.Alive, Expires: next.Expires}
	}
	if err := l.set(next); err != nil {
		return nil, refuse(ipc.CodeBadRequest, "port %s: %v", l.port, err)
	}
	if !own {
		l.grace = time.Time{}
		l.log.Info("leased", "port", l.port, "holder", next.Holder, "for", ttl)
	}
	l.look()
	reply := l.reply()
	reply.Token = next.Token
	return reply, nil
}

// reply says who has the lease. mu must be held.
func (l *lease) reply() *ipc.LeaseReply {
	reply := &ipc.LeaseReply{Port: l.port}
	if s := l.status(); s != nil {
		reply.Held, reply.Holder, reply.Expires = true, s.Holder, s.Expires
	}
	return reply
}

// look ends the lease if it is over, or has somebody look again. mu must be held.
func (l *lease) look() {
	if l.watch != nil {
		l.watch.Stop()
		l.watch = nil
	}
	held, _ := l.ring.Lease()
	left := held.Left()
	switch {
	case held.Token == "", l.stopped:
		return
	case left == 0:
		l.end("its time is over")
		return
	case held.Alive != "" && time.Now().After(l.grace) && !l.broker.Subscribed(held.Alive):
		l.end("its holder is gone")
		return
	case held.Alive != "":
		left = min(left, lookAlive)
	}
	l.watch = time.AfterFunc(left, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.look()
	})
}

// end ends the lease. mu must be held.
func (l *lease) end(reason string) {
	held, _ := l.ring.Lease()
	l.log.Info("lease ended", "port", l.port, "holder", held.Holder, "reason", reason)
	_ = l.set(ring.Lease{}) // it fits
}

// set changes the lease and tells the writer. mu must be held.
func (l *lease) set(next ring.Lease) error {
	if err := l.ring.SetLease(next); err != nil {
		return err
	}
	if err := l.broker.Control().Publish(l.news, nil); err != nil {
		l.log.Warn("the writer does not learn of a lease at once", "port", l.port, "error", err)
	}
	return nil
}

// parseLease reads a request and puts in what it leaves out.
func parseLease(request []byte) (wish ipc.LeaseRequest, ttl time.Duration, err error) {
	ttl = ipc.DefaultLease
	if len(bytes.TrimSpace(request)) == 0 {
		request = []byte("{}")
	}
	decoder := json.NewDecoder(bytes.NewReader(request))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wish); err != nil || decoder.More() {
		return wish, 0, errors.New(`the request is not a JSON object with action, ttl, holder, token and alive, such as {"action": "acquire", "ttl": "30s", "holder": "me"}`)
	}
	if wish == (ipc.LeaseRequest{}) {
		wish.Action = ipc.LeaseShow
	}
	if wish.TTL != "" {
		if ttl, err = time.ParseDuration(wish.TTL); err != nil || ttl < ipc.ShortestLease || ttl > ipc.LongestLease {
			return wish, 0, fmt.Errorf("ttl: %q is not a duration from %s to %s, such as 30s", wish.TTL, ipc.ShortestLease, ipc.LongestLease)
		}
	}
	switch {
	case wish.Action != ipc.LeaseShow && wish.Action != ipc.LeaseAcquire && wish.Action != ipc.LeaseRenew && wish.Action != ipc.LeaseRelease:
		return wish, 0, fmt.Errorf("action: %q is not known; there are show, acquire, renew and release", wish.Action)
	case wish.Alive != "" && (!ipc.IsInbox(wish.Alive) || strings.ContainsAny(wish.Alive, "*> \t\r\n")):
		return wish, 0, fmt.Errorf("alive: %q is not an inbox", wish.Alive)
	case len(wish.Alive) > ring.MaxAlive:
		return wish, 0, fmt.Errorf("alive: it has more than %d bytes", ring.MaxAlive)
	case len(wish.Holder) > ring.MaxHolder || strings.ContainsFunc(wish.Holder, func(r rune) bool { return !unicode.IsPrint(r) }):
		return wish, 0, fmt.Errorf("holder: it is not a name of at most %d bytes that can be printed", ring.MaxHolder)
	case wish.Holder == "":
		wish.Holder = "somebody"
	}
	return wish, ttl, nil
}
