package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Broker is the embedded broker.
type Broker struct {
	Listen    string // host:port; port 0 takes a free one
	TLS       TLS
	WebSocket WebSocket
	MQTT      MQTT
	Leaf      Leaf
	Users     []User // in the file's order
}

// WebSocket is where browsers connect.
type WebSocket struct {
	Listen  string   // host:port; empty: nowhere
	Origins []string // of pages that may; none: those of the broker's own host
}

// MQTT is where clients of MQTT 3.1.1 connect.
type MQTT struct {
	Listen string // host:port; empty: nowhere
}

// User is a client of the broker, beside the roles of the state folder.
type User struct {
	Name     string
	Password string // its bcrypt hash; empty: none
	NKey     string // public; empty: none
	Role     ipc.Role
	Ports    []string // that it may have to do with; none: all
}

// usualAddress are examples of addresses, by what listens there.
var usualAddress = map[string]string{"": "127.0.0.1:4222", "websocket": "127.0.0.1:8080", "mqtt": "127.0.0.1:1883"}

// broker takes where the broker listens, and returns where its users and the hub are named. Other machines are kept out without TLS, unless
// that is said twice.
func (c *collector) broker(key string, n ast.Node, conf *Config) (users, leaf ast.Node) {
	b := &conf.Broker
	insecure := false
	at := map[string]ast.Node{}
	listen := func(name string, to *string) field {
		usual := usualAddress[name]
		return field{"listen", func(key string, n ast.Node) {
			at[name] = n
			c.address(to, usual)(key, n)
		}}
	}
	section := func(name string, to *string, more ...field) field {
		return field{name, func(key string, n ast.Node) {
			c.mapping(n, key, append([]field{listen(name, to)}, more...)...)
			if at[name] == nil && isMapping(n) {
				c.fail(n, key+".listen", "missing; write host:port, or leave %s out", key)
			}
		}}
	}
	c.mapping(n, key,
		listen("", &b.Listen),
		field{"insecure", c.toggle(&insecure)},
		field{"tls", func(key string, n ast.Node) { c.tls(key, n, conf) }},
		section("websocket", &b.WebSocket.Listen, field{"origins", c.origins(&b.WebSocket.Origins)}),
		section("mqtt", &b.MQTT.Listen),
		field{"leaf", func(key string, n ast.Node) {
			leaf = n
			c.leaf(key, n, conf)
		}},
		field{"users", func(_ string, n ast.Node) { users = n }},
	)
	if insecure {
		return users, leaf
	}
	for _, l := range []struct{ key, name, address string }{
		{key, "", b.Listen}, {key + ".websocket", "websocket", b.WebSocket.Listen}, {key + ".mqtt", "mqtt", b.MQTT.Listen},
	} {
		if at[l.name] == nil || l.address == "" || isLoopback(l.address) {
			continue
		}
		if users == nil {
			c.fail(at[l.name], l.key+".listen", "%s can be reached from other machines, and there is nobody who may: add users: to broker:, or insecure: true to it", described(at[l.name]))
		}
		if !b.TLS.Enabled() {
			c.fail(at[l.name], l.key+".listen", "%s can be reached from other machines, where passwords and all traffic can be read on the way; add tls: to broker:, or insecure: true to it", described(at[l.name]))
		}
	}
	return users, leaf
}

// users takes the clients of the broker, when all ports are known.
func (c *collector) users(key string, n ast.Node, conf *Config) {
	list, ok := plain(n).(*ast.SequenceNode)
	if !ok {
		if plain(n).Type() != ast.NullType {
			c.fail(n, key, "%s is not a list; write - {name: …, password: …, role: tap}", described(n))
		}
		return
	}
	for _, item := range list.Values {
		u := c.user(key, item, conf)
		if u.Name != "" && slices.ContainsFunc(conf.Broker.Users, func(o User) bool { return o.Name == u.Name }) {
			c.fail(item, key+".name", "there is another user %s", u.Name)
		}
		if u.NKey != "" && slices.ContainsFunc(conf.Broker.Users, func(o User) bool { return o.NKey == u.NKey }) {
			c.fail(item, key+".nkey", "another user has the same")
		}
		conf.Broker.Users = append(conf.Broker.Users, u)
	}
}

func (c *collector) user(key string, n ast.Node, conf *Config) User {
	u := User{Role: ipc.RoleTap}
	var ports []ast.Node
	roles := roleNames()
	present := c.mapping(n, key,
		field{"name", func(key string, n ast.Node) {
			switch name := text(n); {
			case !isScalar(n) || !portPattern.MatchString(name):
				c.fail(n, key, "%s cannot be a user's name; use a to z, 0 to 9, - and _", described(n))
			case slices.Contains(roles, name) || strings.HasPrefix(name, "supervisor"):
				c.fail(n, key, "the supervisor has a user %s of its own; choose another name", name)
			default:
				u.Name = name
			}
		}},
		field{"password", func(key string, n ast.Node) {
			if _, err := bcrypt.Cost([]byte(text(n))); !isScalar(n) || err != nil {
				c.fail(n, key, "it is not the bcrypt hash of a password; supervisor passwd makes one")
				return
			}
			u.Password = text(n)
		}},
		field{"nkey", func(key string, n ast.Node) {
			if !isScalar(n) || !nkeys.IsValidPublicUserKey(text(n)) {
				c.fail(n, key, "it is not the public key of a user, which begins with U; supervisor nkey makes a pair")
				return
			}
			u.NKey = text(n)
		}},
		field{"role", c.choice(roles, func(s string) { u.Role = ipc.Role(s) })},
		field{"ports", c.somePorts(&u.Ports, &ports)},
	)
	if !isMapping(n) {
		return u
	}
	if !present["name"] {
		c.fail(n, key+".name", "missing; every user has one")
	}
	switch {
	case present["password"] && present["nkey"]:
		c.fail(n, key+".nkey", "a user has a password or an nkey, not both")
	case !present["password"] && !present["nkey"] && !conf.Broker.TLS.Verify:
		c.fail(n, key+".password", "missing; write a hash that supervisor passwd makes, or nkey: …, or broker.tls.verify: true for one that is known by its certificate")
	}
	if !present["role"] {
		c.fail(n, key+".role", "missing; write %s", alternatives(roles))
	}
	for i, name := range u.Ports {
		if conf.Port(name) == nil {
			c.fail(ports[i], key+".ports", "there is no port %q; there are %s", name, strings.Join(conf.portNames(), ", "))
		}
	}
	if u.Role == ipc.RoleAdmin && len(u.Ports) > 0 {
		c.fail(ports[0], key+".ports", "an admin may do everything with all ports; write role: send, or leave ports out")
	}
	return u
}
