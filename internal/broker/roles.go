package broker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// RoleGrant is the user of a role, with a password of its own and the role's name.
func (b *Broker) RoleGrant(role ipc.Role) Grant {
	g := b.roleGrant(string(role), role, nil)
	// People ask for everything first, and get all that they may see.
	g.Subscribe, g.Unheard = append(g.Subscribe, b.subjects.Root+".>"), b.subjects.Unwatched()
	return g
}

// Secret makes a secret for a purpose, which is the same for as long as the passwords of the roles are. Empty: there is none.
func (b *Broker) Secret(purpose string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	admin := b.users[string(ipc.RoleAdmin)].Password
	if admin == "" {
		return ""
	}
	secret := hmac.New(sha256.New, []byte(admin))
	secret.Write([]byte(purpose)) // never fails
	return base32.StdEncoding.EncodeToString(secret.Sum(nil))[:26]
}

// WorkerGrant is the user of a worker of the user's own, with a role for some ports; none: all of them.
func (b *Broker) WorkerGrant(worker string, role ipc.Role, ports []string) Grant {
	return b.roleGrant(customUser+worker, role, ports)
}

// customUser is what the user's name of a custom worker begins with: it may be called as a role is.
const customUser = "worker/"

func (b *Broker) roleGrant(name string, role ipc.Role, ports []string) Grant {
	s := b.subjects
	g := Grant{Name: name, Password: NewPassword(), Account: Control, Apart: true, Ports: ports, Publish: []string{s.Status()}}
	of := ports
	if len(ports) == 0 {
		of = []string{"*"}
	}
	g.Subscribe = append(g.Subscribe, b.heard(ports)...)
	if role == ipc.RoleTap {
		g.Account = Traffic
		g.Publish = append(g.Publish, b.readHistory()...)
		return g
	}
	for _, port := range of {
		g.Publish = append(g.Publish, s.Tx(port), s.Request(port), s.Lease(port), s.Control(port))
	}
	if role == ipc.RoleAdmin {
		g.Publish = append(g.Publish, s.Root+"."+ipc.Supervisor+".>", "$SRV.>", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST")
		for _, q := range b.planned() {
			g.Publish = append(g.Publish, manageStream(q.name)...)
		}
	}
	return g
}

// manageStream is what an admin may ask of the server about the queue: look at it, take a message out, empty it.
func manageStream(stream string) []string {
	return []string{
		"$JS.API.STREAM.INFO." + stream, "$JS.API.STREAM.MSG.GET." + stream, "$JS.API.STREAM.MSG.DELETE." + stream, "$JS.API.STREAM.PURGE." + stream,
		"$JS.API.CONSUMER.NAMES." + stream, "$JS.API.CONSUMER.LIST." + stream, "$JS.API.CONSUMER.INFO." + stream + ".*",
	}
}

// secondUser is what a worker's name in the account that is not its main one ends with.
const secondUser = "/second"

// RevokeWorker throws out a worker's users. Of one that is dead the kernel has closed the connections, and it is waited until
// the server has read to its end what they had sent: a dead writer that still asks for frames must not get its successor's.
// Of one that is not dead they are cut.
func (b *Broker) RevokeWorker(name string, dead bool) error {
	names := []string{name, name + secondUser}
	b.forget(names)
	if dead {
		return b.awaitGone(names)
	}
	return b.cut(names)
}

// ReaderGrants are the users of a port's reader: one in TRAFFIC to publish what is received and, if it forwards, one in
// CONTROL to queue it.
func (b *Broker) ReaderGrants(port string, forward []ipc.Target) []Grant {
	grants := []Grant{{
		Name: port + "/reader", Password: NewPassword(), Account: Traffic, Publish: b.twice(b.subjects.Rx(port)),
	}}
	if history := b.HistoryStream(); history != "" {
		// To learn where its predecessor stood.
		grants[0].Publish = append(grants[0].Publish, "$JS.API.DIRECT.GET."+history+"."+b.subjects.Rx(port))
	}
	if len(forward) == 0 {
		return grants
	}
	g := Grant{Name: port + "/reader" + secondUser, Password: NewPassword(), Account: Control}
	for _, t := range forward {
		g.Publish = append(g.Publish, b.subjects.Tx(t.Port))
		if t.Stream != "" {
			g.Publish = append(g.Publish, "$JS.API.CONSUMER.INFO."+t.Stream+"."+t.Consumer)
		}
	}
	return append(grants, g)
}

// WriterGrants are the users of a port's writer: one in CONTROL to take requests, and frames from the queue, or from senders
// without one; and one in TRAFFIC to publish what became of them.
func (b *Broker) WriterGrants(queue ipc.Target) []Grant {
	g := Grant{
		Name: queue.Port + "/writer", Password: NewPassword(), Account: Control, Subscribe: []string{b.subjects.Request(queue.Port)}, Answer: true,
	}
	if queue.Stream == "" {
		g.Subscribe = append(g.Subscribe, b.subjects.Tx(queue.Port))
	} else {
		g.Subscribe = append(g.Subscribe, b.subjects.Leased(queue.Port))
		name := queue.Stream + "." + queue.Consumer
		g.Publish = []string{
			"$JS.API.CONSUMER.INFO." + name, "$JS.API.CONSUMER.MSG.NEXT." + name,
			// The acknowledgement subject has two forms, the longer with domain and account.
			fmt.Sprintf("$JS.ACK.%s.>", name), fmt.Sprintf("$JS.ACK.*.*.%s.>", name),
		}
	}
	return []Grant{g, {
		Name: queue.Port + "/writer" + secondUser, Password: NewPassword(), Account: Traffic,
		Publish: b.twice(b.subjects.Sent(queue.Port), b.subjects.Expired(queue.Port)),
	}}
}

// twice adds to subjects those on which the history gets again what it has lost.
func (b *Broker) twice(subjects ...string) []string {
	for _, s := range subjects {
		subjects = append(subjects, b.subjects.Again(s))
	}
	return subjects
}
