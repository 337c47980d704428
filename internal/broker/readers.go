package broker

import (
	"context"
	"encoding/json"
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
}

// owner is whose a consumer is, or empty.
func (g *gate) owner(consumer string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.owners[consumer].by
}

func (g *gate) knows(consumer string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, known := g.owners[consumer]
	return known
}

// count says how many consumers a user has.
func (g *gate) count(user string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.owners {
		if c.by == user {
			n++
		}
	}
	return n
}

// claim notes whose a consumer is that is about to be made or changed. The returned function takes that back.
func (g *gate) claim(consumer string, its owned) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before, known := g.owners[consumer]
	if g.owners == nil {
		g.owners = map[string]owned{}
	}
	g.owners[consumer] = its
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.owners[consumer] = before; !known {
			delete(g.owners, consumer)
		}
	}
}

// reads is what a connection may ask for of its consumers.
func (g *gate) reads(consumers []string) (subjects []string) {
	for _, c := range consumers {
		subjects = append(subjects, "$JS.API.CONSUMER.MSG.NEXT."+g.history+"."+c)
	}
	return subjects
}

// lasting are the consumers that all connections of a user with some rights may read from: an earlier config may have let him make
// others. mu must be held.
func (g *gate) lasting(user Grant) (list []string) {
	of := map[string]bool{}
	for _, r := range g.readers {
		for _, c := range r.own {
			of[c] = true
		}
	}
	for name, c := range g.owners {
		if c.by == user.Name && !of[name] && g.outside(user, c.filters) == "" {
			list = append(list, name)
		}
	}
	return list
}

// enter notes a connection, and returns what else it may publish. lives says of others whether they are still there.
func (g *gate) enter(c server.ClientAuthentication, user Grant, lives func(id uint64) bool) []string {
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
	g.readers[c.GetID()] = reader{client: c, user: user}
	return g.reads(g.lasting(user))
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
	for id, r := range g.readers {
		if !which(id, r) {
			continue
		}
		p := r.user.permissions()
		p.Publish.Allow = append(p.Publish.Allow, g.reads(append(g.lasting(r.user), r.own...))...)
		r.client.RegisterUser(&server.User{Username: r.user.Name, Permissions: p})
	}
}

// consumerGone takes note that there is a consumer no more: its name may be another's from now on.
func (b *Broker) consumerGone(m *nats.Msg) {
	var gone struct {
		Consumer string `json:"consumer"`
	}
	if json.Unmarshal(m.Data, &gone) != nil {
		return
	}
	g := &b.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	c, known := g.owners[gone.Consumer]
	if !known {
		return
	}
	delete(g.owners, gone.Consumer)
	alone := false
	for id, r := range g.readers {
		if i := slices.Index(r.own, gone.Consumer); i >= 0 {
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
		filters := info.Config.FilterSubjects
		if info.Config.FilterSubject != "" {
			filters = append(filters, info.Config.FilterSubject)
		}
		owners[info.Name] = owned{info.Config.Metadata[ownerKey], filters}
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
