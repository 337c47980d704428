// Package client is the other side of a running supervisor: it finds it, and does what the command line's verbs ask for.
package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Place says where to look for a running supervisor.
type Place struct {
	StateDir string
	// Environ prefers the variables NATS_URL, NATS_USER and NATS_PASSWORD, where set, to the state folder.
	Environ bool
}

// Credentials finds the credentials of a role. Errors say what the user can do.
func (p Place) Credentials(role ipc.Role) (ipc.Credentials, error) {
	if p.Environ && os.Getenv(ipc.EnvURL) != "" {
		return ipc.CredentialsFrom(os.Getenv), nil
	}
	path := filepath.Join(p.StateDir, role.EnvFile())
	f, err := os.Open(path)
	switch {
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
}

// Connect connects. A connection that breaks is made again, with the credentials that the supervisor has made by then.
func Connect(p Place, role ipc.Role, options ...nats.Option) (*Client, error) {
	c, err := p.Credentials(role)
	if err != nil {
		return nil, err
	}
	if c.InboxPrefix == "" && c.User == string(role) {
		c.InboxPrefix = "_INBOX_" + string(role)
	}
	latest := func() (string, string) {
		if now, err := p.Credentials(role); err == nil {
			return now.User, now.Password
		}
		return c.User, c.Password
	}
	options = append([]nats.Option{nats.UserInfoHandler(latest), nats.IgnoreAuthErrorAbort()}, options...)
	plain := c
	plain.User, plain.Password = "", "" // the handler gives them; the library takes only one way
	nc, err := plain.Connect("supervisor "+string(role), options...)
	if err != nil {
		switch {
		case errors.Is(err, nats.ErrNoServers):
			return nil, fmt.Errorf("the supervisor at %s does not answer; is it running?", c.URL)
		case errors.Is(err, nats.ErrAuthorization):
			return nil, fmt.Errorf("the supervisor at %s does not know user %q with this password", c.URL, c.User)
		}
		return nil, err
	}
	return &Client{nc, ipc.Subjects{Root: c.Root}, c.URL}, nil
}

// Close ends the connection.
func (c *Client) Close() { c.nc.Close() }
