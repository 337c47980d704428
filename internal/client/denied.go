package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// errDenied ends what the broker does not let the user do. Nobody has got it.
var errDenied = errors.New("the user may not do that")

// denials tell who waits for something that the broker has refused it. The broker does not answer, but tells the connection.
type denials struct {
	mu      sync.Mutex // guards all below
	last    int
	waiting map[int]denialWatch
}

type denialWatch struct {
	concerns func(subject string) bool
	tell     func()
}

// watch has tell called when something is refused that concerns says yes to, until stop is called.
func (d *denials) watch(concerns func(subject string) bool, tell func()) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[int]denialWatch{}
	}
	d.last++
	n := d.last
	d.waiting[n] = denialWatch{concerns, tell}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, n)
	}
}

// note passes an error of the connection on.
func (d *denials) note(err error) {
	subject, ok := ipc.DeniedSubject(err)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.waiting {
		if w.concerns(subject) {
			w.tell()
		}
	}
}

// watchDenied ends a context with errDenied when something is refused on a subject that concerns says yes to.
func (c *Client) watchDenied(ctx context.Context, concerns func(subject string) bool) (context.Context, func()) {
	limited, cancel := context.WithCancelCause(ctx)
	stop := c.denials.watch(concerns, func() { cancel(errDenied) })
	return limited, func() {
		stop()
		cancel(nil)
	}
}

// mayHear says whether the broker lets the user subscribe to a subject.
func (c *Client) mayHear(subject string) (bool, error) {
	sub, err := c.nc.SubscribeSync(subject)
	if err != nil {
		return false, fmt.Errorf("watch %s: %w", subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.nc.FlushTimeout(answerLimit); err != nil {
		return false, fmt.Errorf("watch the traffic: %w", err)
	}
	// The connection has it before the answer to the flush; handlers are called later.
	denied, ok := ipc.DeniedSubject(c.nc.LastError())
	return !ok || denied != subject, nil
}

// mayTap sorts ports, or all if there are none, by whether the user may watch them. No port in may: all may be, and those to come.
func (c *Client) mayTap(ports []string, s ipc.Status) (may, not []string, err error) {
	if len(ports) == 0 {
		all, err := c.mayHear(c.Subjects.Rx("*"))
		if all || err != nil {
			return nil, nil, err
		}
		ports = PortNames(s)
	}
	for _, port := range ports {
		ok, err := c.mayHear(c.Subjects.Rx(port))
		switch {
		case err != nil:
			return nil, nil, err
		case ok:
			may = append(may, port)
		default:
			not = append(not, port)
		}
	}
	return may, not, nil
}

// deniedPort says what to do about a verb that the user may not use on a port; if there is such a port.
func (c *Client) deniedPort(ctx context.Context, verb, port string, role ipc.Role) error {
	if _, err := c.Port(ctx, port); err != nil {
		return err
	}
	return c.deniedFor(fmt.Sprintf("%s port %s", verb, port), fmt.Sprintf("role %s, or for the port,", role))
}

// deniedAdmin is deniedPort for what only admins may.
func (c *Client) deniedAdmin(what string) error {
	return c.deniedFor(what, "role "+string(ipc.RoleAdmin))
}

func (c *Client) deniedFor(what, need string) error {
	where := "broker.users"
	if worker, ok := strings.CutPrefix(c.user, "worker/"); ok {
		where = "workers." + worker
	}
	return fmt.Errorf("%s may not %s; ask for %s in %s of the gateway's config", c.who(), what, need, where)
}

// who is the user as errors name it.
func (c *Client) who() string {
	name := c.user
	if u, err := url.Parse(c.url); name == "" && err == nil {
		name = u.User.Username()
	}
	if name == "" {
		return "this user"
	}
	return "user " + name
}
