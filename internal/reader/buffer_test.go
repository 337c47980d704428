package reader

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestBufferGivesBackWhatWentIn puts random chunks in and takes random pieces out.
func TestBufferGivesBackWhatWentIn(t *testing.T) {
	const longest = 100 << 10
	random := rand.New(rand.NewPCG(1, 2))
	b := newBuffer(longest)
	var in, out []byte
	for range 20000 {
		free := b.free()
		if len(free) < readSize && b.len() <= longest {
			t.Fatalf("there is room for %d bytes with %d waiting, want %d", len(free), b.len(), readSize)
		}
		n := random.IntN(min(len(free), readSize) + 1)
		for i := range n {
			free[i] = byte(random.Uint32())
		}
		in = append(in, free[:n]...)
		b.grow(n)
		if data, _ := b.data(); b.len() > longest || random.IntN(3) == 0 {
			k := random.IntN(len(data) + 1)
			out = append(out, data[:k]...)
			b.take(k)
		} else {
			b.looked()
			if _, scanned := b.data(); scanned != b.len() {
				t.Fatalf("%d bytes count as searched, want %d", scanned, b.len())
			}
		}
	}
	data, _ := b.data()
	if out = append(out, data...); !bytes.Equal(in, out) {
		t.Error("what came out is not what went in")
	}
}
