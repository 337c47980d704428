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

// owner is whose a consumer is, or empty.
func (g *gate) owner(consumer string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.owners[consumer]
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
	for _, owner := range g.owners {
		if owner == user {
			n++
		}
	}
	return n
}

// claim notes whose a consumer is that is about to be made, and says whether it was known before.
func (g *gate) claim(consumer, user string) (known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, known = g.owners[consumer]
	if g.owners == nil {
		g.owners = map[string]string{}
	}
	g.owners[consumer] = user
	return known
}

func (g *gate) release(consumer string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.owners, consumer)
}

// reads is what a connection may ask for of its consumers.
func (g *gate) reads(consumers []string) (subjects []string) {
	for _, c := range consumers {
		subjects = append(subjects, "$JS.API.CONSUMER.MSG.NEXT."+g.history+"."+c)
	}
	return subjects
}

// lasting are the consumers of a user that all of its connections may read from. mu must be held.
func (g *gate) lasting(user string) (list []string) {
	of := map[string]bool{}
	for _, r := range g.readers {
		for _, c := range r.own {
			of[c] = true
		}
	}
	for c, owner := range g.owners {
		if owner == user && !of[c] {
			list = append(list, c)
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
	return g.reads(g.lasting(user.Name))
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
		p.Publish.Allow = append(p.Publish.Allow, g.reads(append(g.lasting(r.user.Name), r.own...))...)
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
	user, known := g.owners[gone.Consumer]
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
		g.permit(func(_ uint64, r reader) bool { return r.user.Name == user })
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
	owners := map[string]string{}
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		owners[info.Name] = info.Config.Metadata[ownerKey]
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
