package fleet

import (
	"encoding/json"
	"slices"
)

// gap is what a hub lacks out of the middle of what it has: its stream has refused a message, and stored later ones. The hub does not
// know, so it is kept, see Options, for as long as that is so, for the next one that tells the hub.
type gap struct {
	Incarnation string   `json:"incarnation"` // of the history
	Stored      uint64   `json:"stored"`      // the hub has all up to this sequence,
	Newest      uint64   `json:"newest"`      // and up to this one all but those that wait:
	Waiting     []uint64 `json:"waiting"`     // in ascending order
}

// gap is what is lacking out of the middle of the messages under way; nil: nothing.
func (w *window) gap(incarnation string) *gap {
	g := &gap{Incarnation: incarnation}
	for _, f := range w.flights {
		if !f.done.IsZero() {
			g.Newest = f.seq
		}
	}
	for _, f := range w.waiting() {
		if f.seq < g.Newest {
			g.Waiting = append(g.Waiting, f.seq)
		}
	}
	if len(g.Waiting) == 0 {
		return nil
	}
	g.Stored = w.flights[0].seq - 1
	return g
}

// and is a gap with another in it; either may be nil.
func (g *gap) and(other *gap) *gap {
	switch {
	case g == nil:
		return other
	case other == nil:
		return g
	}
	return &gap{g.Incarnation, min(g.Stored, other.Stored), max(g.Newest, other.Newest), union(g.Waiting, other.Waiting)}
}

func union(a, b []uint64) []uint64 {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// lacks says whether a message is one that waits, and has whether the hub has it. With neither it is newer; g may be nil.
func (g *gap) lacks(seq uint64) bool { return g != nil && slices.Contains(g.Waiting, seq) }
func (g *gap) has(seq uint64) bool   { return g != nil && seq <= g.Newest && !g.lacks(seq) }

// upTo is the sequence up to which the hub has all when it gets a message that waits, and all before that; 0: of another nothing is known.
func (g *gap) upTo(seq uint64) uint64 {
	if !g.lacks(seq) {
		return 0
	}
	if i := slices.Index(g.Waiting, seq); i+1 < len(g.Waiting) {
		return g.Waiting[i+1] - 1
	}
	return g.Newest
}

// forget notes that messages from … end-1 do not wait any more, and returns how many of them the hub had.
func (g *gap) forget(from, end uint64) (has uint64) {
	if g == nil || from > g.Newest {
		return 0
	}
	before := len(g.Waiting)
	g.Waiting = slices.DeleteFunc(g.Waiting, func(seq uint64) bool { return seq >= from && seq < end })
	return min(end, g.Newest+1) - from - uint64(before-len(g.Waiting))
}

// closed says whether nothing waits, and all that the hub has was passed over by a reader of the history that is at a sequence.
func (g *gap) closed(next uint64) bool { return g != nil && len(g.Waiting) == 0 && next > g.Newest }

// loadGap reads what an uplink before has left.
func (u *Uplink) loadGap() {
	if u.kept = u.Left; u.kept == "" {
		return
	}
	g := &gap{}
	if err := json.Unmarshal([]byte(u.kept), g); err != nil {
		u.Log.Warn("what the hub has refused before is not sent again", "error", err)
		return
	}
	u.left = g
}

// keepGap keeps what is lacking, when that has changed.
func (u *Uplink) keepGap() {
	text := ""
	if g := u.left.and(u.window.gap(u.of)); g != nil {
		b, err := json.Marshal(g)
		if err != nil {
			panic(err) // plain data
		}
		text = string(b)
	}
	if text == u.kept {
		return
	}
	if err := u.Keep(text); err != nil {
		u.Log.Debug("what the hub has refused is not on the disk", "error", err)
		return
	}
	u.kept = text
}

// resume is the sequence behind which the history is read, for a hub that has stored a message: all of the gap that an uplink before
// has left is looked at again.
func (u *Uplink) resume(stored uint64) uint64 {
	if u.left != nil && (u.left.Incarnation != u.of || stored < u.left.Stored) {
		u.left = nil // it is of another history, or of another hub
	}
	if u.left == nil {
		return stored
	}
	for _, f := range u.window.waiting() {
		u.left.Waiting = union(u.left.Waiting, []uint64{f.seq})
	}
	u.window = window{}
	u.left.Newest = max(u.left.Newest, stored)
	return u.left.Stored
}
