package broker

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Account is one of the two that the gateway's own processes are in. They are apart because within one account a user without
// the right to publish on a subject can have the server publish there for it, by a reply subject.
type Account string

// The accounts.
const (
	// Traffic holds readers and the history. Nothing leads from here to a device.
	Traffic Account = "TRAFFIC"
	// Control holds the queue and writers.
	Control Account = "CONTROL"
)

// Grant is one user: where it may connect and what it may do there. Beside the listed subjects each may receive
// messages below its own inbox.
type Grant struct {
	Name      string
	Password  string // empty: none
	Hash      string // bcrypt's, of a password in its place
	NKey      string // public; empty: none
	Certified bool   // known by a certificate with the name
	Account   Account
	Apart     bool     // in an account of its own, see homes, that has of Account what Publish names
	Ports     []string // that are heard there; none: all
	Publish   []string // none: nothing
	Subscribe []string // none: only its inbox
	Unheard   []string // what does not come to it, though a wildcard in Subscribe matches
	// Answer lets the user publish one answer on the reply subject of a message it received.
	Answer bool
}

// inbox is the prefix of the subjects on which the user, and nobody else, receives replies.
func (g Grant) inbox() string {
	return "_INBOX_" + strings.NewReplacer("/", "_", ".", "_").Replace(g.Name)
}

// Credentials are what a client of the user needs to connect.
func (b *Broker) Credentials(g Grant) ipc.Credentials {
	return ipc.Credentials{URL: b.url, User: g.Name, Password: g.Password, InboxPrefix: g.inbox(), Root: b.opts.Root}
}

// Grant lets users in, or changes the passwords and rights with which those of the same name may connect from now on.
// Connections that exist are left alone.
func (b *Broker) Grant(users ...Grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range users {
		b.users[u.Name] = u
	}
}

// Revoke throws users out and cuts their connections. Nobody else notices.
func (b *Broker) Revoke(names ...string) error {
	b.forget(names)
	return b.cut(names)
}

// forget lets users in no more.
func (b *Broker) forget(names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		delete(b.users, name)
	}
}

// goneLimit is how long the server may take to read what the dead have said.
const goneLimit = time.Second

// awaitGone waits until users whose processes are dead have no connections any more, and cuts them if that takes too long.
func (b *Broker) awaitGone(names []string) error {
	for deadline := time.Now().Add(goneLimit); ; time.Sleep(200 * time.Microsecond) {
		ids, err := b.connections(names)
		if err != nil || len(ids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return b.cut(names)
		}
	}
}

// cut ends the connections of users.
func (b *Broker) cut(names []string) error {
	ids, err := b.connections(names)
	for _, id := range ids {
		_ = b.server.DisconnectClientByID(id) // an error means that it has left
	}
	return err
}

// connections lists those of users.
func (b *Broker) connections(names []string) (ids []uint64, err error) {
	for _, name := range names {
		found, err := b.server.Connz(&server.ConnzOptions{Username: true, User: name, Limit: 1 << 16})
		if err != nil {
			return ids, fmt.Errorf("look for connections of user %s: %w", name, err)
		}
		for _, c := range found.Conns {
			ids = append(ids, c.Cid)
		}
		ids = append(ids, b.nameless.of(name)...)
	}
	return ids, nil
}

// permissions are in the server's form, where no list allows everything and an empty one nothing.
func (g Grant) permissions() *server.Permissions {
	p := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: append([]string{}, g.Publish...)},
		Subscribe: &server.SubjectPermission{Allow: append([]string{g.inbox() + ".>"}, g.Subscribe...)},
	}
	if g.Apart && g.Account == Traffic {
		for _, subject := range g.Publish { // the server looks at what a subject is mapped to
			p.Publish.Allow = append(p.Publish.Allow, asked+subject)
		}
	}
	p.Subscribe.Deny = g.Unheard
	if g.Apart { // stock clients know nothing of inbox prefixes
		p.Subscribe.Allow = append(p.Subscribe.Allow, "_INBOX.>")
	}
	if g.Answer {
		p.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: answerLimit}
	}
	return p
}

// answerLimit is how long an answer may take: a request waits for its turn, the writing and the device.
const answerLimit = 20 * time.Minute

// NewPassword makes a secret of 26 letters and digits, 130 bits.
func NewPassword() string { return rand.Text() }

// Subscribed says whether anybody is subscribed to a subject, in CONTROL or at home.
func (b *Broker) Subscribed(subject string) bool {
	for _, name := range append(b.homeNames(), string(Control)) {
		if account, err := b.server.LookupAccount(name); err == nil && account.SubscriptionInterest(subject) {
			return true
		}
	}
	return false
}

// ownUsers are the supervisor's own, one in each account.
func (b *Broker) ownUsers() (traffic, control Grant) {
	traffic = Grant{Name: "supervisor-traffic", Password: NewPassword(), Account: Traffic, Publish: []string{">"}, Subscribe: []string{">"}}
	control = traffic
	control.Name, control.Password, control.Account = "supervisor-control", NewPassword(), Control
	b.users[traffic.Name], b.users[control.Name] = traffic, control
	return traffic, control
}
