package broker

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Whoever is not one of the gateway's own processes has an account to himself, his home. Permissions alone would not do: they say
// what a client publishes, and within an account a client has others publish for it, by the subject on which it wants an answer.
// From a home such an answer goes nowhere but into the same home, which leads to what its owner may do anyway:
//
//	TRAFFIC ── what ports receive, send, go through ──▶ home      (stream imports)
//	home ── frames, requests, orders ──▶ CONTROL                  (service imports)
//	home ── the history ──▶ gate, in TRAFFIC                      (see gate)
//
// Two users never share one, and neither do two sets of rights of the same user.

const (
	// asked is where within a tap's home goes what it asks for, so that its owner's other clients, which hear all that may be heard,
	// do not hear that. Others' permissions see to it; a tap's change while it is connected, and then the server forgets.
	asked = ipc.AskedPrefix
	// forged is where goes what within a home is said as if ports had.
	forged = ipc.ForgedPrefix
	// gated is where homes ask for the history, in TRAFFIC: $GATE.<home>.…
	gated = "$GATE."
	// delivered is where consumers that push deliver for a home, in TRAFFIC: $TO.<home>.<inbox>
	delivered = "$TO."
)

// mqttStore bounds what sessions of MQTT may keep for one user: their subscriptions, and messages for those that are away.
const mqttStore = 64 << 20

// homes are the accounts by name. They last until the broker ends, as nobody knows who may come back.
type homes struct {
	mu     sync.Mutex // guards owners, and held while one is made
	owners map[string]Grant
}

// home finds or makes the account that a user is in.
func (b *Broker) home(g Grant, mqtt bool) (*server.Account, error) {
	if !g.Apart {
		return b.server.LookupAccount(string(g.Account))
	}
	b.homes.mu.Lock()
	defer b.homes.mu.Unlock()
	name := g.home(mqtt)
	if _, known := b.homes.owners[name]; known {
		return b.server.LookupAccount(name)
	}
	account, err := b.server.RegisterAccount(name)
	if err == nil {
		err = b.furnish(account, g, mqtt)
	}
	if err != nil {
		return nil, fmt.Errorf("make an account for user %s: %w", g.Name, err)
	}
	if b.homes.owners == nil {
		b.homes.owners = map[string]Grant{}
	}
	b.homes.owners[name] = g
	return account, nil
}

// home names the account of a user with these rights.
func (g Grant) home(mqtt bool) string {
	rights := fnv.New64a()
	fmt.Fprintf(rights, "%q %s %q %q %q", g.Name, g.Account, g.Publish, g.Subscribe, g.Ports)
	name := fmt.Sprintf("HOME_%s_%x", strings.Map(plain, g.Name), rights.Sum64())
	if mqtt {
		name += "_MQTT"
	}
	return name
}

// plain leaves of a user's name what fits into the name of an account.
func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
		return r
	}
	return '_'
}

// owner says whose home an account is.
func (b *Broker) owner(home string) (Grant, bool) {
	b.homes.mu.Lock()
	defer b.homes.mu.Unlock()
	g, ok := b.homes.owners[home]
	return g, ok
}

// homeNames lists them.
func (b *Broker) homeNames() []string {
	b.homes.mu.Lock()
	defer b.homes.mu.Unlock()
	return slices.Collect(maps.Keys(b.homes.owners))
}

// furnish gives a new account what its owner may hear and ask for.
func (b *Broker) furnish(home *server.Account, g Grant, mqtt bool) error {
	traffic, err := b.server.LookupAccount(string(Traffic))
	if err != nil {
		return err
	}
	from, err := b.server.LookupAccount(string(g.Account))
	if err != nil {
		return err
	}
	for _, subject := range b.heard(g.Ports) {
		if err := home.AddStreamImport(traffic, subject, ""); err != nil {
			return fmt.Errorf("import %s: %w", subject, err)
		}
		if err := home.AddMapping(subject, mapped(forged, subject)); err != nil {
			return fmt.Errorf("map %s: %w", subject, err)
		}
	}
	for _, subject := range g.Publish {
		switch {
		case strings.HasPrefix(subject, b.subjects.Root+".") && g.Account == Traffic:
			if err := home.AddMapping(subject, mapped(asked, subject)); err != nil {
				return fmt.Errorf("map %s: %w", subject, err)
			}
			err = home.AddServiceImport(from, asked+subject, subject)
		case strings.HasPrefix(subject, "$") && (mqtt || g.Account == Traffic): // see openGate
		default:
			err = home.AddServiceImport(from, subject, subject)
		}
		if err != nil {
			return fmt.Errorf("import %s: %w", subject, err)
		}
	}
	switch {
	case mqtt: // whose sessions are streams
		return home.EnableJetStream(map[string]server.JetStreamAccountLimits{"": {
			MaxMemory: mqttStore, MaxStore: mqttStore, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1,
		}}, nil)
	case g.Account == Traffic:
		return b.openGate(home, traffic)
	case !slices.Contains(g.Publish, accountInfo):
		// Without it the server would add its whole API.
		return home.AddServiceImport(from, accountInfo, accountInfo)
	}
	return nil
}

// accountInfo is where a client asks what of JetStream it may use.
const accountInfo = "$JS.API.INFO"

// heard are the subjects that who may hear some ports hears; none: all ports.
func (b *Broker) heard(ports []string) []string {
	if len(ports) == 0 {
		ports = []string{"*"}
	}
	subjects := []string{b.subjects.WorkerLog("*")}
	for _, port := range ports {
		subjects = append(subjects, b.subjects.WatchedOf(port)...)
	}
	return subjects
}

// mapped is a subject with wildcards as the destination of a mapping, below a prefix.
func mapped(prefix, subject string) string {
	tokens, n := strings.Split(subject, "."), 0
	for i, t := range tokens {
		if t == "*" {
			n++
			tokens[i] = fmt.Sprintf("{{wildcard(%d)}}", n)
		}
	}
	return prefix + strings.Join(tokens, ".")
}

// accounts writes the gateway's own two accounts in the server's configuration language, with what others are offered of them.
// Which of that anyone has is in his own account.
func (b *Broker) accounts() string {
	s := b.subjects
	var streams, services, orders []string
	for _, subject := range b.heard(nil) {
		streams = append(streams, fmt.Sprintf("{stream: %q}", subject))
	}
	offer := func(list *[]string, kind string, subjects ...string) {
		for _, subject := range subjects {
			*list = append(*list, fmt.Sprintf("{service: %q, response: %s}", subject, kind))
		}
	}
	const one, many = "singleton", "stream"
	offer(&services, one, append([]string{gated + ">", s.Status()}, historyAPI...)...)
	offer(&services, many, "$JS.API.CONSUMER.MSG.NEXT."+s.History()+".*")
	offer(&orders, one, s.Tx("*"), s.Request("*"), s.Lease("*"), s.Control("*"), s.Root+"."+ipc.Supervisor+".>", accountInfo, "$JS.API.STREAM.>", "$JS.API.CONSUMER.>")
	offer(&orders, many, "$SRV.>")
	streams = append(streams, fmt.Sprintf("{stream: %q}", delivered+">"))
	return fmt.Sprintf("accounts {\n%s {jetstream: enabled, exports: [%s]}\n%s {jetstream: enabled, exports: [%s]}\n}\n",
		Traffic, strings.Join(append(streams, services...), ", "), Control, strings.Join(orders, ", "))
}
