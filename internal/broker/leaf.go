package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Fleet is the account that is connected with a hub, if there is one. It holds nothing but a connection of the supervisor's own,
// and what hub's users may ask of the ports: so nothing of the other accounts crosses, whatever the hub's permissions are.
const Fleet Account = "FLEET"

// Leaf is the way to a hub.
type Leaf struct {
	URLs        []string
	Credentials string // path of a file; empty: what the URLs say
	CA          string // path of a file; empty: those of the machine
	Subjects    ipc.FleetSubjects
}

const (
	// leafRetry is how long after a lost connection with the hub, or a failed one, the next is tried.
	leafRetry = time.Second
	// leafLimit is how long the hub may take to accept a connection, and to say what it is: links by radio are slow.
	leafLimit = 5 * time.Second
	// leafReports is how seldom the server's own log tells of attempts to connect: we tell when the link comes and goes.
	leafReports = 3600
)

// addLeaf adds what connects the server with the hub.
func (b *Broker) addLeaf(o *server.Options) error {
	l := b.opts.Leaf
	if l == nil {
		return nil
	}
	remote := &server.RemoteLeafOpts{
		LocalAccount: string(Fleet), DialTimeout: leafLimit, FirstInfoTimeout: leafLimit, TLSTimeout: leafLimit.Seconds(),
		DenyImports: b.neverImported(), DenyExports: b.neverExported(),
		IgnoreDiscoveredServers: true, // the config names those that can be reached from here
	}
	for _, text := range l.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return fmt.Errorf("the hub's address: %w", err)
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), strconv.Itoa(server.DEFAULT_LEAFNODE_PORT))
		}
		remote.URLs = append(remote.URLs, u)
		remote.TLS = remote.TLS || u.Scheme == "tls"
	}
	if err := l.authenticate(remote); err != nil {
		return err
	}
	o.Accounts = append(o.Accounts, server.NewAccount(string(Fleet)))
	o.LeafNode.Remotes, o.LeafNode.ReconnectInterval = []*server.RemoteLeafOpts{remote}, leafRetry
	o.ConnectErrorReports, o.ReconnectErrorReports = leafReports, leafReports
	return nil
}

// authenticate adds who the gateway is, and whom it believes that he is the hub.
func (l *Leaf) authenticate(remote *server.RemoteLeafOpts) error {
	if l.Credentials != "" {
		content, err := os.ReadFile(l.Credentials)
		if err != nil {
			return fmt.Errorf("credentials for the hub: %w", err)
		}
		if remote.Credentials = l.Credentials; !bytes.Contains(content, []byte("BEGIN NATS USER JWT")) {
			pair, err := nkeys.ParseDecoratedUserNKey(content)
			if err != nil {
				return fmt.Errorf("credentials for the hub: %s: %w", l.Credentials, err)
			}
			seed, err := pair.Seed()
			if err != nil {
				return fmt.Errorf("credentials for the hub: %s: %w", l.Credentials, err)
			}
			remote.Credentials, remote.Nkey = "", string(seed)
		}
	}
	if l.CA != "" {
		content, err := os.ReadFile(l.CA)
		pool := x509.NewCertPool()
		if err == nil && !pool.AppendCertsFromPEM(content) {
			err = fmt.Errorf("%s has no certificate in PEM form", l.CA)
		}
		if err != nil {
			return fmt.Errorf("certificates for the hub: %w", err)
		}
		remote.TLS, remote.TLSConfig = true, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return nil
}

// neverImported are subjects that the gateway would not take from the hub even if somebody in FLEET were subscribed to them.
func (b *Broker) neverImported() []string {
	return []string{b.opts.Root + ".>", "$SYS.>", "$SRV.>", "$KV.>", "$OBJ.>"}
}

// neverExported are subjects on which nothing leaves for the hub. An answer goes to whatever subject the one who asks has named,
// which must be no command to a gateway, and no request to the hub's store that changes anything.
func (b *Broker) neverExported() []string {
	all := b.opts.Leaf.Subjects.OfAll()
	return []string{
		b.opts.Root + ".>", all.Tx("*"), all.Request("*"), all.Status(), "$SYS.>", "$SRV.>", "$KV.>", "$OBJ.>", "$JS.API.>", "$JS.ACK.>",
		"$JS.*.API.STREAM.>", "$JS.*.API.CONSUMER.>", "$JS.*.API.META.>", "$JS.*.API.SERVER.>", "$JS.*.API.ACCOUNT.>", "$JS.*.API.DIRECT.GET.*",
	}
}

// startLeaf opens the supervisor's own connection to FLEET, and offers what hub's users may ask for.
func (b *Broker) startLeaf() (err error) {
	if b.opts.Leaf == nil {
		return nil
	}
	own := Grant{Name: "supervisor-fleet", Password: NewPassword(), Account: Fleet, Publish: []string{">"}, Subscribe: []string{">"}}
	b.Grant(own)
	if b.fleet, err = b.connect(own, nats.CustomInboxPrefix(b.opts.Leaf.Subjects.Inbox())); err != nil {
		return err
	}
	return b.offer(b.opts.Leaf.Subjects.Status(), b.subjects.Status())
}

// OfferPort lets the hub's users send to a port and ask it, if there is a hub. Each port is offered by itself, so that the hub
// says at once of others that nobody answers. What was offered once stays so until the broker ends: the server has no way back.
func (b *Broker) OfferPort(port string) error {
	if b.opts.Leaf == nil {
		return nil
	}
	hub := b.opts.Leaf.Subjects
	if err := b.offer(hub.Tx(port), b.subjects.Tx(port)); err != nil {
		return err
	}
	return b.offer(hub.Request(port), b.subjects.Request(port))
}

func (b *Broker) offer(subject, local string) error {
	b.mu.Lock()
	offered := b.offered[subject]
	b.offered[subject] = true
	b.mu.Unlock()
	if offered {
		return nil
	}
	fleet, err := b.server.LookupAccount(string(Fleet))
	if err != nil {
		return fmt.Errorf("offer %s to the hub: %w", subject, err)
	}
	control, err := b.server.LookupAccount(string(Control))
	if err == nil {
		err = fleet.AddServiceImport(control, subject, local)
	}
	if err != nil {
		return fmt.Errorf("offer %s to the hub: %w", subject, err)
	}
	return nil
}

// Fleet is the supervisor's own connection to the account that is connected with the hub, or nil.
func (b *Broker) Fleet() *nats.Conn { return b.fleet }

// Link is a connection with the hub.
type Link struct {
	ID  uint64 // no two have the same
	URL string // of the hub's server
}

// Link is the connection with the hub, or none.
func (b *Broker) Link() (l Link, up bool) {
	if b.server.NumLeafNodes() == 0 {
		return l, false
	}
	leafs, err := b.server.Leafz(nil)
	if err != nil || len(leafs.Leafs) == 0 {
		return l, false
	}
	leaf := leafs.Leafs[0]
	return Link{leaf.ID, "nats://" + net.JoinHostPort(leaf.IP, strconv.Itoa(leaf.Port))}, true
}

// LinkUp says whether a link is the one there is.
func (b *Broker) LinkUp(l Link) bool { return b.server.GetLeafNode(l.ID) != nil }

// CutLink ends a link that does not answer, so that another is tried.
func (b *Broker) CutLink(l Link) { _ = b.server.DisconnectClientByID(l.ID) } // an error means that it has ended

// HistoryPlace is where the history stands.
type HistoryPlace struct {
	Incarnation string // of the stream: one that was made anew counts its sequences from the start, and has another
	First, Last uint64 // sequences; Last is below First if there is nothing
	Subjects    []string
}

// HistoryPlace asks the store.
func (b *Broker) HistoryPlace(ctx context.Context) (p HistoryPlace, err error) {
	b.store.asked.RLock()
	defer b.store.asked.RUnlock()
	s, err := b.historyStream(ctx)
	if err != nil {
		return p, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return p, fmt.Errorf("the history: %w", err)
	}
	p = HistoryPlace{ipc.QueueToken(incarnation(s)), info.State.FirstSeq, info.State.LastSeq, nil}
	for subject := range info.State.Subjects {
		p.Subjects = append(p.Subjects, subject)
	}
	slices.Sort(p.Subjects)
	return p, nil
}
