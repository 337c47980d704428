package main

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Whatever pieces a device's bytes come in, the tokens are the same; and each frame knows its number, also behind the end of
// another.
func TestTokens(t *testing.T) {
	for _, binary := range []bool{false, true} {
		order := talk{port: "p", place: 3, toward: 't', binary: binary, seed: 9}
		var all []byte
		for n := range 300 {
			frame := order.wire(n)
			if got, ok := order.number(frame); !ok || got != n {
				t.Fatalf("binary %t: frame %d has the number %d, %t", binary, n, got, ok)
			}
			if n%50 == 49 { // cut off, and again
				all = append(all, frame[:len(frame)/2]...)
			}
			all = append(all, frame...)
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 20 {
			var got []token
			in := tokens{talk: order, emit: func(t token) { got = append(got, t) }}
			for rest := all; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(5000))
				in.write(rest[:n], 1)
				rest = rest[n:]
			}
			in.flush()
			n := 0
			for i, token := range got {
				switch {
				case token.kind == whole && token.n == n:
					n++
				case token.kind == cut && n%50 == 49 && (token.n == n || token.n < 0 && bytes.HasPrefix(order.wire(n), token.head)):
				default:
					t.Fatalf("binary %t: token %d is %+v, want frame %d", binary, i, token, n)
				}
			}
			if n != 300 || len(got) != 306 {
				t.Fatalf("binary %t: %d tokens with %d frames", binary, len(got), n)
			}
		}
		changed := bytes.Clone(order.wire(7))
		changed[len(changed)-3] ^= 1
		var got []token
		in := tokens{talk: order, emit: func(t token) { got = append(got, t) }}
		in.write(append(changed, order.wire(8)...), 1)
		if len(got) != 2 || got[0].kind != garbled || got[1].n != 8 {
			t.Errorf("binary %t: a changed frame is %+v", binary, got)
		}
	}
}

// The same seed gives the same events, and all kinds of them.
func TestSchedule(t *testing.T) {
	a, b, other := newSchedule(7, plan(4)), newSchedule(7, plan(4)), newSchedule(8, plan(4))
	seen := map[deed]bool{}
	different := false
	for range 2000 {
		x := a.next()
		if y := b.next(); x != y {
			t.Fatalf("%+v and %+v", x, y)
		}
		different = different || x != other.next()
		seen[x.deed] = true
		if x.deed.ofPlug() && !plan(4)[x.port].plug {
			t.Fatalf("%s is unplugged", plan(4)[x.port].name)
		}
	}
	if len(seen) != int(deeds) || !different {
		t.Errorf("%d of %d kinds are drawn; other seeds differ: %t", len(seen), deeds, different)
	}
}
