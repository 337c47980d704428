package fleet

import (
	"log/slog"
	"slices"
	"testing"
	"time"
)

// What the hub lacks out of the middle outlives the uplink, and is read from the history again; what it has behind that is not.
func TestGap(t *testing.T) {
	now := time.Now()
	kept := ""
	begin := func() *Uplink {
		u := &Uplink{Options: Options{Log: slog.New(slog.DiscardHandler), Left: kept, Keep: func(text string) error { kept = text; return nil }}, of: "abc"}
		u.loadGap()
		return u
	}
	u := begin()
	u.window = *flying(now, 10, 11, 13, 14, 15, 16)
	if u.keepGap(); kept != "" {
		t.Errorf("a gap is kept while nothing is stored behind it: %s", kept)
	}
	for _, seq := range []uint64{11, 13, 15} {
		u.window.settle(u.window.find(seq), now)
	}
	u.keepGap()

	next := begin()
	if from := next.resume(15); from != 9 {
		t.Errorf("the history is read behind %d, want 9", from)
	}
	if g := next.left; g.Newest != 15 || !slices.Equal(g.Waiting, []uint64{10, 14}) || g.upTo(10) != 13 || g.upTo(14) != 15 || !g.has(11) || g.has(14) || g.has(16) {
		t.Errorf("the gap is %+v", g)
	}
	// It has told 10 and 14, of which 14 is stored, and something new.
	next.window = *flying(now, 10, 14, 17)
	next.window.settle(next.window.find(14), now)
	next.left.forget(14, 15)
	next.keepGap()
	third := begin()
	if g := third.left; g == nil || g.Stored != 9 || g.Newest != 15 || !slices.Equal(g.Waiting, []uint64{10}) || g.upTo(10) != 15 {
		t.Errorf("then the gap is %+v", g)
	}
	if next.left.forget(10, 11); next.left.closed(15) || !next.left.closed(16) {
		t.Errorf("with all stored the gap %+v is closed when the reader is behind 15, and not before", next.left)
	}
	next.left, next.window = nil, window{}
	next.keepGap()
	if kept != "" {
		t.Errorf("without a gap there is something kept: %s", kept)
	}
	if has := third.left.forget(10, 13); has != 2 || len(third.left.Waiting) != 0 {
		t.Errorf("of 3 messages that the history has no more the hub has %d, and %v wait", has, third.left.Waiting)
	}
	if other := (&Uplink{left: &gap{Incarnation: "abc", Stored: 9, Newest: 15, Waiting: []uint64{10}}, of: "abc"}); other.resume(5) != 5 || other.left != nil {
		t.Error("what one hub lacks is taken for what another has")
	}
	third.of = "another history"
	if from := third.resume(3); from != 3 || third.left != nil {
		t.Errorf("of another history the gap counts: from %d, %+v", from, third.left)
	}
}
