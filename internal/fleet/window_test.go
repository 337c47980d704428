package fleet

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// flying is a window with messages that were sent at a time.
func flying(sent time.Time, seqs ...uint64) *window {
	w := &window{}
	for _, seq := range seqs {
		w.push(&flight{seq: seq, sent: sent, data: make([]byte, 10)})
	}
	return w
}

func (w *window) seqs() (list []uint64) {
	for _, f := range w.flights {
		list = append(list, f.seq)
	}
	return list
}

// What the hub has lost out of the middle says, when it is sent again, up to where the hub has all with it.
func TestLostInTheMiddle(t *testing.T) {
	now := time.Now()
	w := flying(now, 10, 11, 13, 14, 15)
	for _, seq := range []uint64{11, 13, 15} {
		if last := w.settle(w.find(seq), now); last != nil {
			t.Errorf("with %d stored the hub has all up to %d", seq, last.seq)
		}
	}
	if w.passed(now) || !w.passed(now.Add(2*prompt)) {
		t.Error("10 is lost when later ones have been stored for some time, and not before")
	}
	for seq, want := range map[uint64]uint64{10: 13, 14: 15} {
		if got := w.upTo(w.find(seq)); got != want {
			t.Errorf("with %d the hub has all up to %d, want %d", seq, got, want)
		}
	}
	if last := w.settle(w.find(10), now); last == nil || last.seq != 13 {
		t.Errorf("with 10 stored the last is %+v", last)
	}
	if last := w.settle(w.find(14), now); last == nil || last.seq != 15 || len(w.flights) != 0 || w.bytes != 0 {
		t.Errorf("with all stored the last is %+v, %d are under way with %d bytes", last, len(w.flights), w.bytes)
	}
}

// After a lost link only what cannot be stored twice by that, and would not be read from the history again, is sent again.
func TestKeptAfterLostLink(t *testing.T) {
	now := time.Now()
	w := flying(now, 1, 2, 3, 4)
	w.settle(w.find(2), now)
	if w.keep(3, now); !slices.Equal(w.seqs(), []uint64{1, 3}) {
		t.Errorf("kept are %v", w.seqs())
	}
	if w.keep(3, now.Add(2*surely)); len(w.flights) != 0 {
		t.Errorf("kept for too long are %v", w.seqs())
	}
}

func TestWindowOpens(t *testing.T) {
	now := time.Now()
	if w := flying(now); !w.open(now) {
		t.Error("an empty window takes nothing")
	}
	if w := flying(now, 1); !w.open(now) || w.open(now.Add(2*prompt)) {
		t.Error("others follow while the first is under way for a moment, and then not")
	}
	w := flying(now)
	for seq := range uint64(windowMessages) {
		if !w.open(now) {
			t.Fatalf("it is full with %d", seq)
		}
		w.push(&flight{seq: seq, sent: now})
	}
	if w.open(now) {
		t.Error("it is never full")
	}
	if w := flying(now); true {
		w.push(&flight{seq: 1, sent: now, data: make([]byte, 2*windowBytes)})
		if w.open(now) {
			t.Error("something follows a long message at once")
		}
	}
}

func TestPlaceOf(t *testing.T) {
	for _, c := range []struct {
		header nats.Header
		of     string
		seq    uint64
	}{
		{nats.Header{ipc.HeaderHistorySeq: {"abc.17"}}, "abc", 17},
		{nats.Header{ipc.HeaderHistorySeq: {"abc.17"}, ipc.HeaderHistoryUpTo: {"20"}}, "abc", 20},
		{nats.Header{ipc.HeaderHistorySeq: {"abc"}}, "", 0},
		{nats.Header{}, "", 0},
	} {
		if of, seq := placeOf(c.header); of != c.of || seq != c.seq {
			t.Errorf("%v: %s, %d", c.header, of, seq)
		}
	}
}

// A hub that has never answered is not cut off, and one that is silent is asked first, also after a pause of the gateway's own.
func TestPulse(t *testing.T) {
	now := time.Now()
	var p pulse
	if p.due(now) || p.over(now.Add(time.Hour)) {
		t.Error("a hub that has never answered is given up")
	}
	if n := p.next(broker.Link{ID: 2}, now); n.over(now.Add(time.Hour)) || n.due(now.Add(time.Hour)) {
		t.Error("it is given up over another link")
	}
	p.beat(now)
	if p.due(now.Add(quiet / 2)) {
		t.Error("it is asked at once")
	}
	late := now.Add(time.Hour)
	if p.over(late) {
		t.Error("it is given up unasked")
	}
	if !p.due(late) || p.over(late.Add(quiet/2)) || !p.over(late.Add(dead)) {
		t.Error("it is not asked, or not given up")
	}
	if p.beat(late.Add(quiet / 2)); p.over(late.Add(dead)) {
		t.Error("its answer is of no use")
	}
	second := p.next(broker.Link{ID: 3}, late)
	third := second.next(broker.Link{ID: 4}, late)
	if second.limit != dead || third.limit != 4*dead || second.heard != late {
		t.Errorf("over the next links it may be silent for %s and %s", second.limit, third.limit)
	}
}
