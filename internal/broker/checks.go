package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// Check implements server.Authentication. The server's own list of users could be changed only by a reload of its
// configuration, during which requests to JetStream find nobody for a moment; this one changes without a trace.
func (b *Broker) Check(c server.ClientAuthentication) bool {
	u, known := b.recognise(c)
	if !known {
		return false
	}
	mqtt := u.Apart && b.opts.MQTT != "" && isMQTT(c)
	account, err := b.home(u, mqtt)
	if err != nil {
		b.opts.Log.Error("a user was not let in", "user", u.Name, "error", err)
		return false
	}
	if u.Apart && account.NumConnections() >= mostAtHome {
		b.opts.Log.Warn("a user has so many connections that no more are let in", "user", u.Name, "connections", mostAtHome)
		return false
	}
	named := c.GetOpts().Username != ""
	var may *server.Permissions
	if u.Apart && u.Account == Traffic && !mqtt {
		may = b.gate.enter(c, u, b.lives)
	} else {
		may = u.permissions()
	}
	c.RegisterUser(&server.User{Username: u.Name, Account: account, Permissions: may})
	if !named {
		b.nameless.add(u.Name, c.GetID(), b.lives)
	}
	// Whoever takes the user away cuts the connections that there are, of which this is one only now.
	b.mu.Lock()
	defer b.mu.Unlock()
	now, known := b.users[u.Name]
	return known && now.Password == u.Password && now.Hash == u.Hash && now.NKey == u.NKey && now.Certified == u.Certified
}

// lives says whether a connection is still there.
func (b *Broker) lives(id uint64) bool { return b.server.GetClient(id) != nil }

// isMQTT says whether a client speaks MQTT: of such the server takes the password for a token, too, and gives it nothing
// to sign.
func isMQTT(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	return o.Token != "" && o.Token == o.Password && len(c.GetNonce()) == 0
}

// nameless are the connections of users that did not say their names, by which the server would find them.
type nameless struct {
	mu  sync.Mutex // guards ids
	ids map[string][]uint64
}

// add notes a connection, and forgets those of the user that are gone.
func (n *nameless) add(user string, id uint64, lives func(uint64) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ids == nil {
		n.ids = map[string][]uint64{}
	}
	n.ids[user] = append(slices.DeleteFunc(n.ids[user], func(id uint64) bool { return !lives(id) }), id)
}

// of lists those of a user, of which some may be gone.
func (n *nameless) of(user string) []uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ids[user])
}

// recognise finds out who a client is: by its key, by its name and password, or without a name by its certificate.
func (b *Broker) recognise(c server.ClientAuthentication) (u Grant, known bool) {
	given := c.GetOpts()
	switch {
	case given.Nkey != "":
		u, known = b.userWith(func(u Grant) bool { return u.NKey == given.Nkey })
		return u, known && signed(given.Nkey, given.Sig, c.GetNonce())
	case given.Username == "":
		name := certified(c)
		u, known = b.userWith(func(u Grant) bool { return u.Certified && u.Name == name })
		return u, known && name != ""
	}
	b.mu.Lock()
	u, known = b.users[given.Username]
	b.mu.Unlock()
	if u.Hash != "" {
		return u, b.hashed.fit(u.Hash, given.Password)
	}
	// The comparison takes as long for a wrong name.
	same := subtle.ConstantTimeCompare([]byte(u.Password), []byte(given.Password)) == 1
	return u, known && same && u.Password != ""
}

func (b *Broker) userWith(is func(Grant) bool) (Grant, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range b.users {
		if is(u) {
			return u, true
		}
	}
	return Grant{}, false
}

// signed says whether a signature is that of a key under what the server gave to sign.
func signed(key, signature string, nonce []byte) bool {
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(signature, "="))
	if err != nil {
		return false
	}
	public, err := nkeys.FromPublicKey(key)
	return err == nil && len(nonce) > 0 && public.Verify(nonce, text) == nil
}

// certified is the common name in a client's certificate, which the server has verified; empty: it has none.
func certified(c server.ClientAuthentication) string {
	state := c.GetTLSConnectionState()
	if state == nil || len(state.VerifiedChains) == 0 {
		return ""
	}
	return state.VerifiedChains[0][0].Subject.CommonName
}

// hashed checks passwords against hashes, which takes long on purpose: one at a time, so that guessing takes no more than one
// processor. One that was right before is known, and does not wait for those who guess.
type hashed struct {
	checking sync.Mutex // held while one is checked
	waiting  atomic.Int64

	mu    sync.Mutex        // guards right
	right map[string]string // hashes of the other kind, by those of the config
}

const (
	// mostRight bounds what is kept: users come and go with the config.
	mostRight = 1024
	// mostWaiting is how many may wait to be checked. With more, somebody guesses, and the last would not be done in time.
	mostWaiting = 16
)

func (h *hashed) fit(hash, password string) bool {
	sum := sha256.Sum256([]byte(password))
	if h.knows(hash, sum[:]) {
		return true
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > mostWaiting {
		return false
	}
	h.checking.Lock()
	defer h.checking.Unlock()
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.right == nil || len(h.right) >= mostRight {
		h.right = map[string]string{}
	}
	h.right[hash] = string(sum[:])
	return true
}

func (h *hashed) knows(hash string, sum []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.right[hash]
	return ok && subtle.ConstantTimeCompare([]byte(known), sum) == 1
}
