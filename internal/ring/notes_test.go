package ring

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A writer takes frames from a queue, some out of order, and is killed over and over: it writes each once.
func TestNotesSurviveKills(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	const frames = 6000
	var queue []uint64
	for seq := uint64(1); seq <= frames; seq++ {
		queue = append(queue, seq*(1+seq%2)) // with gaps, as ports share a stream
	}
	slices.Sort(queue)
	queue = slices.Compact(queue)
	written := map[uint64]bool{}
	write := func(s *Sender, seq uint64) bool {
		if s.Done(seq) {
			return true
		}
		if !s.Reserve() {
			return false
		}
		if written[seq] {
			t.Fatalf("frame %d is written twice", seq)
		}
		written[seq] = true
		s.Begin(Sending{Queued, seq, nil})
		s.Complete()
		return true
	}
	lives := 0
	for len(queue) > 0 {
		lives++
		s := r.Sender(0)
		var waiting, unacknowledged []uint64 // put aside, and written
		acknowledge := func() {
			for len(unacknowledged) > 0 {
				seq := unacknowledged[0]
				unacknowledged = unacknowledged[1:]
				i, _ := slices.BinarySearch(queue, seq)
				queue = slices.Delete(queue, i, i+1)
				s.Settled(seq)
				if random.IntN(300) == 0 {
					return
				}
			}
		}
		must := func(seq uint64) {
			for !write(s, seq) {
				acknowledge()
			}
			unacknowledged = append(unacknowledged, seq)
		}
		for _, seq := range slices.Clone(queue) {
			s.HandedOut(seq)
			switch {
			case random.IntN(4) == 0 && !s.Done(seq):
				waiting = append(waiting, seq)
			default:
				must(seq)
			}
			if random.IntN(1500) == 0 { // a lease ends
				for _, seq := range waiting {
					must(seq)
				}
				waiting = nil
			}
			if random.IntN(200) == 0 {
				acknowledge()
			}
			if random.IntN(2000) == 0 { // killed
				break
			}
		}
		if lives > 100 { // and at last it lives to the end
			for _, seq := range waiting {
				must(seq)
			}
			for len(unacknowledged) > 0 {
				acknowledge()
			}
		}
	}
	if lives < 10 {
		t.Errorf("it was killed %d times only", lives)
	}
}

// A place that a predecessor has left is used again when no other is there, the lowest first.
func TestNotesInDoubt(t *testing.T) {
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	for i := range r.notes {
		r.notes[i].Store(uint64(10_000 + i))
	}
	s := r.Sender(0)
	s.HandedOut(1)
	for seq := uint64(1); seq <= underWay; seq++ {
		if !s.Reserve() {
			t.Fatalf("there is no place for frame %d", seq)
		}
		s.Begin(Sending{Queued, seq, nil})
		s.Complete()
	}
	if s.Reserve() {
		t.Error("more frames are under way than a successor can tell apart")
	}
	if s.Done(10_000) || !s.Done(10_000+underWay) || !s.Done(1) || !s.Done(underWay) {
		t.Error("other notes than the lowest were given up")
	}
	s.Settled(5)
	if !s.Reserve() || r.Written(10_000) || !r.Written(5) {
		t.Error("a place does not become free, or its note is lost before it is needed")
	}
}
