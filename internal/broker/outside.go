package broker

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// User is one of the config.
type User struct {
	Name      string
	Hash      string // bcrypt's, of the password; empty: none
	NKey      string // public; empty: none
	Certified bool   // known by a certificate with the name
	Role      ipc.Role
	Ports     []string // none: all
}

// UserGrant is a user of the config.
func (b *Broker) UserGrant(u User) Grant {
	g := b.roleGrant(u.Name, u.Role, u.Ports)
	g.Password, g.Hash, g.NKey, g.Certified = "", u.Hash, u.NKey, u.Certified
	if len(u.Ports) == 0 {
		// People ask for everything first, and get all that they may see; MQTT asks for the word before the wildcard, too.
		g.Subscribe = append(g.Subscribe, b.subjects.Root+".>", b.subjects.Root)
		g.Unheard = b.subjects.Unwatched()
	}
	return g
}

// SetUsers lets in those of the config, and no others of an earlier one. Connections of users that are gone or changed are cut;
// the others notice nothing.
func (b *Broker) SetUsers(before, now []User) error {
	var gone []string
	for _, u := range before {
		if !slices.ContainsFunc(now, func(n User) bool { return same(n, u) }) {
			gone = append(gone, u.Name)
		}
	}
	b.forget(gone)
	for _, u := range now {
		if !slices.ContainsFunc(before, func(o User) bool { return same(o, u) }) {
			b.Grant(b.UserGrant(u))
		}
	}
	return b.cut(gone)
}

func same(a, b User) bool {
	return a.Name == b.Name && a.Hash == b.Hash && a.NKey == b.NKey && a.Certified == b.Certified && a.Role == b.Role && slices.Equal(a.Ports, b.Ports)
}

// addOutside adds what others than this machine's own programs use.
func (b *Broker) addOutside(o *server.Options) error {
	o.AlwaysEnableNonce = true // for those with keys
	if b.certificates != nil {
		o.TLSConfig, o.TLSTimeout, o.TLSVerify = b.certificates.server(), authLimit.Seconds(), b.opts.TLS.Verify
	}
	if listen := b.opts.WebSocket; listen != "" {
		host, port, err := hostPort(listen)
		if err != nil {
			return err
		}
		o.Websocket = server.WebsocketOpts{
			Host: host, Port: port, TLSConfig: o.TLSConfig, NoTLS: o.TLSConfig == nil, SameOrigin: len(b.opts.Origins) == 0, AllowedOrigins: b.opts.Origins,
			AuthTimeout: authLimit.Seconds(),
		}
	}
	if listen := b.opts.MQTT; listen != "" {
		host, port, err := hostPort(listen)
		if err != nil {
			return err
		}
		o.MQTT = server.MQTTOpts{Host: host, Port: port, TLSConfig: o.TLSConfig, TLSTimeout: authLimit.Seconds(), AuthTimeout: authLimit.Seconds()}
	}
	return nil
}

// probeOutside tries an address, which may be empty, as the server reports one in use through its log only.
func probeOutside(key, address string) error {
	if address == "" {
		return nil
	}
	if _, err := probe(address); err != nil {
		return fmt.Errorf("%w on %s: %w; set broker.%s.listen to another address", ErrListenOutside, address, cause(err), key)
	}
	return nil
}

// probe tries an address, and returns what it comes to.
func probe(address string) (*net.TCPAddr, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return l.Addr().(*net.TCPAddr), l.Close()
}

// hostPort takes an address apart in the server's way, in which port -1 is a free one.
func hostPort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		return "", 0, fmt.Errorf("broker address %q: %w", address, err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if port == 0 {
		port = -1
	}
	return host, port, nil
}

// listenInside opens a way for this machine's own programs when clients must use TLS: their connections leave the machine as
// little as a file does.
func (b *Broker) listenInside() (err error) {
	const free = "127.0.0.1:0"
	if b.inside, err = net.Listen("tcp", cmp.Or(b.opts.Inside, free)); err != nil {
		b.inside, err = net.Listen("tcp", free)
	}
	if err != nil {
		return fmt.Errorf("%w for this machine's programs: %w", ErrListen, cause(err))
	}
	b.url = "nats://" + b.inside.Addr().String()
	b.bridges.Go(func() {
		for {
			outer, err := b.inside.Accept()
			if err != nil {
				return // it is closed
			}
			if err := b.bridge(outer); err != nil {
				b.opts.Log.Warn("a connection was not taken", "error", err)
			}
		}
	})
	return nil
}
