package writer

import (
	"testing"

	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ring"
)

// Frames are joined as they were on the line: a delimiter stands where one was, and not behind the last.
func TestAnswer(t *testing.T) {
	spec := frame.Default()
	codec, err := frame.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	type piece struct {
		wire  string
		flags frame.Flags
	}
	for _, c := range []struct {
		pieces []piece
		rest   string
		want   string
		frames int
	}{
		{nil, "", "", 0},
		{[]piece{{"a\n", 0}}, "", "a", 1},
		{[]piece{{"a\n", 0}, {"\n", 0}, {"b\n", 0}}, "", "a\n\nb", 3},
		{[]piece{{"a\n", 0}}, "> ", "a\n> ", 1},
		{nil, "> ", "> ", 0},
		{[]piece{{"login: ", frame.Partial}, {"x\n", 0}}, "", "login: x", 2},
		{[]piece{{"abc", frame.Continued}, {"def", frame.Continued}, {"g\n", 0}, {"h\n", 0}}, "", "abcdefg\nh", 2},
	} {
		a := answer{codec: codec, delimiter: spec.Delimiter, most: 100}
		for _, p := range c.pieces {
			whole, complete, err := a.add(ring.Heard{Wire: []byte(p.wire), Flags: uint8(p.flags)})
			if err != nil || complete == (p.flags&frame.Continued != 0) {
				t.Errorf("%q: complete %t, %v", p.wire, complete, err)
			}
			if p.wire == "g\n" && string(whole) != "abcdefg" {
				t.Errorf("the frame in pieces is %q", whole)
			}
		}
		a.addRest([]byte(c.rest))
		if string(a.text) != c.want || a.frames != c.frames {
			t.Errorf("%v and %q give %q, %d frames, want %q and %d", c.pieces, c.rest, a.text, a.frames, c.want, c.frames)
		}
	}
	a := answer{codec: codec, most: 3}
	if _, _, err := a.add(ring.Heard{Wire: []byte("abcd\n")}); err == nil {
		t.Error("an answer that no message can carry was taken")
	}
}

// Pieces of a frame that began before the request are no answer, whole frames behind it are; of raw bytes what came since is.
func TestAnswerCounts(t *testing.T) {
	for _, c := range []struct {
		raw  bool
		f    []ring.Heard
		want []bool
	}{
		{false, []ring.Heard{{Early: true}, {}}, []bool{false, true}},
		{false, []ring.Heard{{Early: true, Flags: uint8(frame.Continued)}, {Flags: uint8(frame.Continued)}, {}, {Flags: uint8(frame.Continued)}, {}}, []bool{false, false, false, true, true}},
		{true, []ring.Heard{{Early: true}, {Early: true, Wire: []byte("x")}, {Wire: []byte("y")}}, []bool{false, true, true}},
	} {
		a := answer{raw: c.raw}
		for i, f := range c.f {
			if got := a.counts(f); got != c.want[i] {
				t.Errorf("raw %t: frame %d of %+v counts: %t", c.raw, i, c.f, got)
			}
		}
	}
}
