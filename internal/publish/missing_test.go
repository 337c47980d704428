package publish

import (
	"math/rand/v2"
	"testing"
)

// TestMissingIsASet compares it with a map, through all the ways in which a range can be taken apart.
func TestMissingIsASet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m missing
	want := map[uint64]bool{}
	n := uint64(0)
	for range 20000 {
		if random.IntN(2) == 0 {
			n += uint64(random.IntN(3)) + 1
			m.add(n)
			want[n] = true
			continue
		}
		i := n - uint64(random.IntN(20))
		if got := m.take(i); got != want[i] {
			t.Fatalf("take(%d) = %t, want %t; %v", i, got, want[i], m)
		}
		delete(want, i)
	}
	if len(m) > missingSpans {
		t.Errorf("it has %d ranges, want at most %d", len(m), missingSpans)
	}
}

// TestMissingIsSmall gives up a million messages of which all are then stored, in order.
func TestMissingIsSmall(t *testing.T) {
	var m missing
	for n := range uint64(1_000_000) {
		m.add(n)
	}
	for n := range uint64(1_000_000) {
		if !m.take(n) || len(m) > 1 {
			t.Fatalf("take(%d) failed or left more than one range: %v", n, m)
		}
	}
	if len(m) != 0 {
		t.Errorf("%v is left of it", m)
	}
}
