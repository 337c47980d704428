// Package client is the other side of a running supervisor: it finds it, and does what the command line's verbs ask for.
package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Place says where to look for a running supervisor.
type Place struct {
	StateDir string
	// Environ prefers the variables NATS_URL, NATS_USER and NATS_PASSWORD, where set, to the state folder.
	Environ bool
	// Trouble is what is wrong with the config that would have named the state folder; nil: nothing is.
	Trouble error
}

// Credentials finds the credentials of a role. Errors say what the user can do.
func (p Place) Credentials(role ipc.Role) (ipc.Credentials, error) {
	if p.Environ && os.Getenv(ipc.EnvURL) != "" {
		c := ipc.CredentialsFrom(os.Getenv)
		if has := slices.Index(ipc.Roles, ipc.Role(c.User)); has >= 0 && has < slices.Index(ipc.Roles, role) {
			return c, fmt.Errorf("NATS_USER is %s, who may not do that: eval \"$(supervisor env --role %s)\", or unset NATS_URL to use the state folder", c.User, role)
		}
		return c, nil
	}
	path := filepath.Join(p.StateDir, role.EnvFile())
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.Trouble != nil:
		return ipc.Credentials{}, p.Trouble
	case errors.Is(err, fs.ErrNotExist):
		return ipc.Credentials{}, fmt.Errorf("no supervisor is running on the state folder %s; start one with `supervisor run`, or name its folder with --state-dir", p.StateDir)
	case errors.Is(err, fs.ErrPermission):
		return ipc.Credentials{}, fmt.Errorf("%s may be read only by the user who runs the supervisor: use that user, or set NATS_URL, NATS_USER and NATS_PASSWORD", path)
	case err != nil:
		return ipc.Credentials{}, err
	}
	defer func() { _ = f.Close() }()
	c, err := ipc.ReadEnvFile(f)
	if err != nil {
		return c, fmt.Errorf("read %s: %w", path, err)
	}
	return c, nil
}

// Client is a connection to a running supervisor with the rights of a role.
type Client struct {
	nc       *nats.Conn
	Subjects ipc.Subjects
	url      string
	user     string
	place    Place

	link    *link
	denials denials
	drops   atomic.Uint64 // how often messages were dropped that nobody took in time
	back    chan struct{} // holds a token after the connection was made again
}

// Connect connects. A connection that breaks is made again, at the address and with the credentials that the supervisor has by
// then. One that has the state folder and does not answer yet is waited for.
func Connect(ctx context.Context, p Place, role ipc.Role, options ...nats.Option) (c *Client, err error) {
	err = p.await(ctx, func() error {
		c, err = connect(p, role, options...)
		return err
	})
	return c, err
}

// AwaitCredentials is Credentials, and waits for a supervisor that comes up.
func (p Place) AwaitCredentials(ctx context.Context, role ipc.Role) (c ipc.Credentials, err error) {
	err = p.await(ctx, func() error {
		c, err = p.Credentials(role)
		return err
	})
	return c, err
}

// await tries something until it succeeds, or there is no supervisor at the place that could come up.
func (p Place) await(ctx context.Context, try func() error) error {
	for begun := time.Now(); ; {
		err := try()
		h, held := p.Holder()
		switch {
		case err == nil, p.byEnviron(), !held:
			return err
		case time.Since(begun) > comesUp:
			return h.silent(p, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retry):
		}
	}
}

func connect(p Place, role ipc.Role, options ...nats.Option) (*Client, error) {
	c, err := p.Credentials(role)
	if err != nil {
		return nil, err
	}
	if c.InboxPrefix == "" && c.User == string(role) {
		c.InboxPrefix = "_INBOX_" + string(role)
	}
	latest := &latest{place: p, role: role, last: c}
	client := &Client{Subjects: ipc.Subjects{Root: c.Root}, url: c.URL, user: c.User, place: p, link: newLink(), back: make(chan struct{}, 1)}
	options = append([]nats.Option{
		nats.UserInfoHandler(latest.user), nats.SetCustomDialer(latest), nats.IgnoreAuthErrorAbort(), nats.ReconnectWait(reconnectWait),
	}, options...)
	options = append(options, client.watch)
	plain := c
	plain.User, plain.Password = "", "" // the handler gives them; the library takes only one way
	nc, err := plain.Connect("supervisor "+string(role), options...)
	if err != nil {
		switch {
		case errors.Is(err, nats.ErrNoServers):
			return nil, fmt.Errorf("the supervisor at %s does not answer; is it running?", c.URL)
		case errors.Is(err, nats.ErrAuthorization):
			return nil, fmt.Errorf("the supervisor at %s does not know user %q with this password; if it is from the environment: eval \"$(supervisor env)\" again, or unset NATS_URL", c.URL, c.User)
		}
		return nil, err
	}
	client.nc = nc
	return client, nil
}

// reconnectWait is the time between two attempts to make a connection again.
const reconnectWait = 250 * time.Millisecond

// watch notes what can make a client miss messages, before the handlers that were set learn of it.
func (c *Client) watch(o *nats.Options) error {
	disconnected, reconnected, failed := o.DisconnectedErrCB, o.ReconnectedCB, o.AsyncErrorCB
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
		c.link.broken()
		if disconnected != nil {
			disconnected(nc, err)
		}
	}
	o.ReconnectedCB = func(nc *nats.Conn) {
		c.link.made()
		select {
		case c.back <- struct{}{}:
		default:
		}
		if reconnected != nil {
			reconnected(nc)
		}
	}
	o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrSlowConsumer) {
			c.drops.Add(1)
		}
		c.denials.note(err)
		if failed != nil {
			failed(nc, sub, err)
		}
	}
	return nil
}

// latest finds the supervisor where it is now: one that was started again may have another port, and has other passwords. It is
// for one goroutine at a time, as the library has it.
type latest struct {
	place Place
	role  ipc.Role
	last  ipc.Credentials
	moved string // where it has moved to; empty: it has not
}

// Dial implements nats.CustomDialer. The address is the one that the connection was first made to.
func (l *latest) Dial(network, address string) (net.Conn, error) {
	c, err := l.place.Credentials(l.role)
	if err != nil {
		return nil, err
	}
	if c.URL != l.last.URL {
		u, err := url.Parse(c.URL)
		if err != nil {
			return nil, fmt.Errorf("the supervisor's address: %w", err)
		}
		l.moved, l.last = u.Host, c
	}
	if l.moved != "" {
		address = l.moved
	}
	return net.DialTimeout(network, address, nats.DefaultTimeout)
}

func (l *latest) user() (name, password string) {
	if c, err := l.place.Credentials(l.role); err == nil {
		return c.User, c.Password
	}
	return l.last.User, l.last.Password
}

// Close ends the connection.
func (c *Client) Close() { c.nc.Close() }
