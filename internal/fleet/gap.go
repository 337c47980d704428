package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// gap is what a hub lacks out of the middle of what it has: its stream has refused a message, and stored later ones. The hub does not
// know, so it is in a file for as long as that is so, for the next one that tells the hub.
type gap struct {
	Incarnation string            `json:"incarnation"` // of the history
	Stored      uint64            `json:"stored"`      // the hub has all up to this sequence,
	Newest      uint64            `json:"newest"`      // and up to this one all but those that wait:
	Waiting     map[uint64]uint64 `json:"waiting"`     // each with up to where the hub has all when it gets it, and all before
}

// gap is what is lacking out of the middle of the messages under way; nil: nothing.
func (w *window) gap(incarnation string) *gap {
	g := &gap{Incarnation: incarnation, Waiting: map[uint64]uint64{}}
	for _, f := range w.flights {
		if !f.done.IsZero() {
			g.Newest = f.seq
		}
	}
	for _, f := range w.flights {
		if f.done.IsZero() && f.seq < g.Newest {
			g.Waiting[f.seq] = w.upTo(f)
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
	if g == nil || other == nil {
		if g == nil {
			g = other
		}
		return g
	}
	both := &gap{g.Incarnation, min(g.Stored, other.Stored), max(g.Newest, other.Newest), map[uint64]uint64{}}
	for _, of := range []*gap{g, other} {
		for seq, upTo := range of.Waiting {
			both.Waiting[seq] = max(both.Waiting[seq], upTo)
		}
	}
	return both
}

// loadGap reads what an uplink before has left.
func (u *Uplink) loadGap() {
	text, err := os.ReadFile(u.GapFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	g := &gap{}
	if err == nil {
		err = json.Unmarshal(text, g)
	}
	if err != nil {
		u.Log.Warn("what the hub has refused before is not sent again", "error", fmt.Errorf("%s: %w", u.GapFile, err))
		return
	}
	u.left, u.kept = g, string(text)
}

// keepGap has the file say what is lacking.
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
	var err error
	if text == "" {
		err = os.Remove(u.GapFile)
	} else if err = os.WriteFile(u.GapFile+".new", []byte(text), 0o600); err == nil {
		err = os.Rename(u.GapFile+".new", u.GapFile)
	}
	if err != nil {
		u.Log.Debug("what the hub has refused is not on the disk", "error", err)
		return
	}
	u.kept = text
}

// resume is the sequence behind which the history is read, for a hub that has stored a message: all of the gap that an uplink before
// has left is looked at again.
func (u *Uplink) resume(stored uint64) uint64 {
	if u.left != nil && u.left.Incarnation != u.of {
		u.left = nil
	}
	if u.left == nil {
		return stored
	}
	for _, f := range u.window.waiting() {
		u.left.Waiting[f.seq] = max(u.left.Waiting[f.seq], u.window.upTo(f))
	}
	u.window = window{}
	u.left.Newest = max(u.left.Newest, stored)
	return u.left.Stored
}
