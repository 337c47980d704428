package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A consumer that ends with who reads from it is read from by the connection alone that made it; one that lasts, by all connections
// of its owner. Which these are is among their permissions.

// owned is a consumer that the gate knows.
type owned struct {
	by      string   // the user; empty: one of the gateway's own
	filters []string // what comes out of it; none: everything
	lasts   bool     // all connections of the user may read from it
}

// owner is whose a consumer is, or empty.
func (g *gate) owner(consumer string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.owners[consumer].by
}

// claim notes whose a consumer is that is about to be made or changed, unless it is another's. For one that was not known it returns a
// function that takes that back.
func (g *gate) claim(consumer string, its owned) (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if before, known := g.owners[consumer]; known {
		if before.by != its.by {
			return nil, refused{403, 10013, fmt.Sprintf("consumer name %s is taken; choose another", consumer)}
		}
		return nil, nil
	}
	count, lasting := 0, 0
	for _, c := range g.owners {
		if c.by == its.by {
			count++
			if c.lasts {
				lasting++
			}
		}
	}
	if count >= mostConsumers || its.lasts && lasting >= mostLasting {
		return nil, refused{503, 10026, fmt.Sprintf("user %s has %d consumers of the history already, %d of them durable, and may have %d and %d; delete some, or wait until those that nobody reads from are gone",
			its.by, count, lasting, mostConsumers, mostLasting)}
	}
	if g.owners == nil {
		g.owners = map[string]owned{}
	}
	g.owners[consumer] = its
	return func() { g.disown(consumer) }, nil
}

// note keeps what a consumer has become.
func (g *gate) note(consumer string, its owned) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.owners[consumer] = its
}

// alone are the consumers that a single connection reads from. mu must be held.
func (g *gate) alone() map[string]bool {
	of := map[string]bool{}
	for _, r := range g.readers {
		for _, c := range r.own {
			of[c] = true
		}
	}
	return of
}

// permissions are those of a connection, with the consumers that it may read from: its own, and those for all connections of its
// user, as far as his rights go, since an earlier config may have let him make others. mu must be held.
func (g *gate) permissions(r reader, alone map[string]bool) *server.Permissions {
	consumers := slices.Clone(r.own)
	for name, c := range g.owners {
		if c.by == r.user.Name && !alone[name] && g.outside(r.user, c.filters) == "" {
			consumers = append(consumers, name)
		}
	}
	p := r.user.permissions()
	for _, c := range consumers {
		p.Publish.Allow = append(p.Publish.Allow, "$JS.API.CONSUMER.MSG.NEXT."+g.history+"."+c)
	}
	return p
}

// enter notes a connection, and returns its permissions. lives says of others whether they are still there.
func (g *gate) enter(c server.ClientAuthentication, user Grant, lives func(id uint64) bool) *server.Permissions {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.readers == nil {
		g.readers = map[uint64]reader{}
	}
	for id := range g.readers {
		if !lives(id) {
			delete(g.readers, id)
		}
	}
	r := reader{client: c, user: user}
	g.readers[c.GetID()] = r
	return g.permissions(r, g.alone())
}

// letRead lets those read from a consumer who may.
func (b *Broker) letRead(m *nats.Msg, user Grant, consumer string, lasts bool) {
	var from struct {
		ID uint64 `json:"id"`
	}
	_ = json.Unmarshal([]byte(m.Header.Get(server.ClientInfoHdr)), &from) // without a number it is nobody's alone
	g := &b.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if r, ok := g.readers[from.ID]; ok && !lasts && r.user.Name == user.Name && !slices.Contains(r.own, consumer) {
		r.own = append(r.own, consumer)
		g.readers[from.ID] = r
	}
	g.permit(func(id uint64, r reader) bool { return r.user.Name == user.Name && (lasts || id == from.ID) })
}

// permit renews what connections may ask for. mu must be held.
func (g *gate) permit(which func(id uint64, r reader) bool) {
	alone := g.alone()
	for id, r := range g.readers {
		if which(id, r) {
			r.client.RegisterUser(&server.User{Username: r.user.Name, Permissions: g.permissions(r, alone)})
		}
	}
}

// consumerGone takes note that there is a consumer no more, unless another was made by its name meanwhile.
func (b *Broker) consumerGone(m *nats.Msg) {
	var gone struct {
		Consumer string `json:"consumer"`
	}
	if json.Unmarshal(m.Data, &gone) != nil {
		return
	}
	b.gate.changing.Lock()
	defer b.gate.changing.Unlock()
	if b.gate.owner(gone.Consumer) == "" {
		return
	}
	if answer, err := b.askHistory("CONSUMER.INFO."+b.gate.history+"."+gone.Consumer, nil); err == nil && isRefusal(answer) {
		b.gate.disown(gone.Consumer)
	}
}

// disown forgets a consumer: its name may be another's from now on.
func (g *gate) disown(consumer string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, known := g.owners[consumer]
	if !known {
		return
	}
	delete(g.owners, consumer)
	alone := false
	for id, r := range g.readers {
		if i := slices.Index(r.own, consumer); i >= 0 {
			r.own, alone = slices.Delete(r.own, i, i+1), true
			g.readers[id] = r
			g.permit(func(other uint64, _ reader) bool { return other == id })
		}
	}
	if !alone {
		g.permit(func(_ uint64, r reader) bool { return r.user.Name == c.by })
	}
}

// learnOwners finds out whose the consumers are that there are already. It must be called with asked held, or before there is anybody.
func (b *Broker) learnOwners(ctx context.Context) error {
	if b.opts.History.Off {
		return nil
	}
	s, err := b.historyStream(ctx)
	if err != nil {
		return err
	}
	owners := map[string]owned{}
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		c := info.Config
		owners[info.Name] = owned{c.Metadata[ownerKey], allFilters(c.FilterSubjects, c.FilterSubject), c.Durable != ""}
	}
	if err := list.Err(); err != nil {
		return err
	}
	b.gate.mu.Lock()
	defer b.gate.mu.Unlock()
	b.gate.owners = owners
	b.gate.permit(func(uint64, reader) bool { return true })
	return nil
}
