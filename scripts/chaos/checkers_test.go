package main

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"
)

// second is a time of the tests' own clock, in ns.
func second(s float64) int64 { return int64(s * float64(time.Second)) }

// said is what a device said with a frame each second, in lives of so many frames; the last one of each but the last is
// cut off.
func said(t talk, lives ...int) (list []saying) {
	for life, frames := range lives {
		for i := range frames {
			n := len(list)
			s := saying{life, len(t.wire(n)), true, second(float64(n)), second(float64(n))}
			if i == frames-1 && life < len(lives)-1 {
				s.bytes, s.whole = s.bytes/2, false
			}
			list = append(list, s)
		}
	}
	return list
}

// message is frame n as a session stores it.
func message(t talk, session string, offset uint64, n int) stored {
	return stored{session: session, offset: offset, payload: t.payload(n), at: second(float64(n))}
}

// session stores frames one behind the other.
func session(t talk, name string, frames ...int) (list []stored) {
	offset := uint64(0)
	for _, n := range frames {
		list = append(list, message(t, name, offset, n))
		offset += uint64(len(t.wire(n)))
	}
	return list
}

func TestReceived(t *testing.T) {
	speech := talk{port: "p", toward: 'r', seed: 5}
	kill := []ending{{syscall.SIGKILL, second(3.5), second(3.6)}}
	half := speech.wire(2)[:len(speech.wire(2))/2]
	whole := session(speech, "a", 0, 1, 2, 3, 4, 5)
	changed := session(speech, "a", 0, 1, 2, 3, 4, 5)
	changed[3].payload = append(bytes.Clone(changed[3].payload[:len(changed[3].payload)-2]), "x>"...)
	for _, c := range []struct {
		name  string
		terms terms
		said  []saying
		all   []stored
		want  string // in the first problem; empty: none
	}{
		{"all", terms{keeps: true}, said(speech, 6), whole, ""},
		{"one missing", terms{keeps: true}, said(speech, 6), append(session(speech, "a", 0, 1), session(speech, "a", 0, 1, 2, 3, 4, 5)[3:]...), "are missing"},
		{"one doubled", terms{keeps: true}, said(speech, 6), append(session(speech, "a", 0, 1, 2, 3, 4, 5), whole[5]), "comes again"},
		{"the last missing", terms{keeps: true}, said(speech, 6), whole[:5], "not stored"},
		{"one changed", terms{keeps: true}, said(speech, 6), changed, "has not said"},
		{"opened twice", terms{keeps: true}, said(speech, 6), append(session(speech, "a", 0, 1, 2), session(speech, "b", 3, 4, 5)...), "opened 2 times"},
		{"doubled in another session", terms{endings: kill}, said(speech, 6), append(session(speech, "a", 0, 1, 2, 3), session(speech, "b", 3, 4, 5)...), "stored behind"},
		{"lost with the supervisor", terms{endings: kill}, said(speech, 6), append(session(speech, "a", 0, 1), session(speech, "b", 4, 5)...), ""},
		{"lost and nobody was killed", terms{}, said(speech, 6), append(session(speech, "a", 0, 1), session(speech, "b", 4, 5)...), "not stored"},
		{"said after the kill and lost", terms{endings: kill}, said(speech, 7), append(session(speech, "a", 0, 1), session(speech, "b", 6)...), "not stored"},
		{"unplugged, and the beginning of a frame stored", terms{keeps: true, plug: true, room: 9}, said(speech, 3, 3), append(append(session(speech, "a", 0, 1),
			stored{session: "a", offset: uint64(len(speech.wire(0)) + len(speech.wire(1))), payload: half, flags: "partial", at: second(2)}), session(speech, "b", 3, 4, 5)...), ""},
		{"the same without its flag", terms{keeps: true, plug: true, room: 9}, said(speech, 3, 3), append(append(session(speech, "a", 0, 1),
			stored{session: "a", offset: uint64(len(speech.wire(0)) + len(speech.wire(1))), payload: half, at: second(2)}), session(speech, "b", 3, 4, 5)...), "has not said"},
		{"unplugged, and what it held lost", terms{keeps: true, plug: true, room: len(half)}, said(speech, 3, 3), append(session(speech, "a", 0, 1), session(speech, "b", 3, 4, 5)...), ""},
		{"unplugged, and more lost than it held", terms{keeps: true, plug: true, room: len(half)}, said(speech, 3, 3), append(session(speech, "a", 0), session(speech, "b", 3, 4, 5)...), "not stored"},
		{"unplugged, and the next life's first frame lost", terms{keeps: true, plug: true, room: 999}, said(speech, 3, 3), append(session(speech, "a", 0, 1), session(speech, "b", 4, 5)...), "not stored"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceived(c.terms, speech, maxText, c.said)
			for _, m := range c.all {
				r.add(m)
			}
			r.finish(second(99))
			expect(t, r.problems, c.want)
		})
	}
}

// expect compares the first problem with what is expected.
func expect(t *testing.T, problems []problem, want string) {
	t.Helper()
	switch {
	case want == "" && len(problems) > 0:
		t.Errorf("a problem is seen: %s", problems[0].text)
	case want != "" && (len(problems) == 0 || !strings.Contains(problems[0].text, want)):
		t.Errorf("seen are the problems %v, want %q", problems, want)
	}
}

func TestWritten(t *testing.T) {
	order := talk{port: "p", toward: 't', seed: 5}
	var asked []asking
	var told []stored
	for n := range 6 {
		asked = append(asked, asking{second(float64(n) / 4), uint64(n + 10)})
		told = append(told, stored{queue: uint64(n + 10), payload: order.wire(n), at: second(float64(n))})
	}
	at := func(life int, seconds float64, kind tokenKind, n, bytes int) token {
		return token{kind: kind, n: n, bytes: bytes, life: life, at: second(seconds)}
	}
	frames := func(life int, from float64, numbers ...int) (list []token) {
		for i, n := range numbers {
			list = append(list, at(life, from+float64(i)/10, whole, n, len(order.wire(n))))
		}
		return list
	}
	join := func(parts ...[]token) (list []token) {
		for _, p := range parts {
			list = append(list, p...)
		}
		return list
	}
	piece := func(life int, seconds float64, n int) []token { return []token{at(life, seconds, cut, n, 5)} }
	kill := []ending{{syscall.SIGKILL, second(2.5), second(2.6)}}
	end := []ending{{syscall.SIGTERM, second(2.5), second(2.6)}}
	for _, c := range []struct {
		name  string
		terms terms
		got   []token
		want  string
	}{
		{"all", terms{keeps: true}, frames(0, 1, 0, 1, 2, 3, 4, 5), ""},
		{"one missing", terms{keeps: true}, frames(0, 1, 0, 1, 3, 4, 5), "did not come"},
		{"the last missing", terms{keeps: true}, frames(0, 1, 0, 1, 2, 3, 4), "not written in the end"},
		{"one doubled", terms{keeps: true}, frames(0, 1, 0, 1, 2, 2, 3, 4, 5), "comes again"},
		{"two exchanged", terms{keeps: true}, frames(0, 1, 0, 2, 1, 3, 4, 5), "did not come"},
		{"one garbled", terms{keeps: true}, join(frames(0, 1, 0, 1), []token{{kind: garbled, n: 2, bytes: 9}}, frames(0, 2, 2, 3, 4, 5)), "no frame"},
		{"one cut off", terms{keeps: true}, join(frames(0, 1, 0, 1), piece(0, 1.5, 2), frames(0, 2, 2, 3, 4, 5)), "cut off"},
		{"cut off by unplugging", terms{keeps: true, plug: true}, join(frames(0, 1, 0, 1), piece(0, 1.5, 2), frames(1, 2, 2, 3, 4, 5)), ""},
		{"whole again after unplugging", terms{keeps: true, plug: true}, join(frames(0, 1, 0, 1, 2), frames(1, 2, 2, 3, 4, 5)), ""},
		{"two again after unplugging", terms{keeps: true, plug: true}, join(frames(0, 1, 0, 1, 2), frames(1, 2, 1, 2, 3, 4, 5)), "comes again"},
		{"lost with the device", terms{keeps: true, plug: true, room: 1 << 20}, join(frames(0, 1, 0, 1), frames(1, 2, 4, 5)), ""},
		{"more lost than it held", terms{keeps: true, plug: true, room: 20}, join(frames(0, 1, 0, 1), frames(1, 2, 4, 5)), "did not come"},
		{"cut off by a kill", terms{endings: kill}, join(frames(0, 1, 0, 1), piece(0, 2, 2), frames(0, 3, 2, 3, 4, 5)), ""},
		{"lost by a kill", terms{endings: kill}, join(frames(0, 1, 0, 1), piece(0, 2, 2), frames(0, 3, 3, 4, 5)), "did not come"},
		{"again after a kill, not told before", terms{endings: kill}, join(frames(0, 2, 0, 1, 2, 3, 4), frames(0, 3, 3, 4, 5)), ""},
		{"again after a kill, and told before", terms{endings: kill}, join(frames(0, 2, 0, 1, 2, 3), frames(0, 3, 1, 2, 3, 4, 5)), "comes again"},
		{"again, and nobody was killed", terms{}, join(frames(0, 2, 0, 1, 2, 3), frames(0, 3, 3, 4, 5)), "comes again"},
		{"lost by ending", terms{endings: end, room: 1 << 20}, join(frames(0, 2, 0, 1), frames(0, 3, 3, 4, 5)), "did not come"},
		{"lost by ending under a manager", terms{keeps: true, endings: end, room: 1 << 20}, join(frames(0, 2, 0, 1), frames(0, 3, 3, 4, 5)), "did not come"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWritten(c.terms, order, asked)
			for _, m := range told {
				w.add(m)
			}
			w.finishSent(second(99))
			w.compare(c.got, second(99))
			expect(t, w.problems, c.want)
		})
	}
}

// What the history has as sent.
func TestTold(t *testing.T) {
	order := talk{port: "p", toward: 't', seed: 5}
	asked := []asking{{1, 10}, {2, 0}, {3, 12}}
	told := func(n int, queue uint64) stored { return stored{queue: queue, payload: order.wire(n), at: second(1)} }
	for _, c := range []struct {
		name string
		told []stored
		want string
	}{
		{"all", []stored{told(0, 10), told(1, 11), told(2, 12)}, ""},
		{"one of which the sender knows nothing missing", []stored{told(0, 10), told(2, 12)}, ""},
		{"one missing", []stored{told(0, 10)}, "does not have frame 2"},
		{"one twice", []stored{told(0, 10), told(0, 10), told(2, 12)}, "frame 0 twice"},
		{"out of order", []stored{told(2, 12), told(0, 10)}, "behind"},
		{"another sequence", []stored{told(0, 9), told(2, 12)}, "acknowledged with 10"},
		{"a stranger", []stored{told(0, 10), told(7, 11), told(2, 12)}, "nobody queued"},
	} {
		w := newWritten(terms{keeps: true}, order, asked)
		for _, m := range c.told {
			w.add(m)
		}
		w.finishSent(second(99))
		t.Run(c.name, func(t *testing.T) { expect(t, w.problems, c.want) })
	}
}

func TestLive(t *testing.T) {
	index := func(p place) (int, bool) { return int(p.number), p.number < 10 }
	back := func(int) (string, int64) { return "it", 0 }
	places := func(numbers ...uint64) (list []place) {
		for _, n := range numbers {
			list = append(list, place{0, n})
		}
		return list
	}
	for _, c := range []struct {
		name  string
		keeps bool
		turns [][]place
		want  string
	}{
		{"all of two turns", true, [][]place{places(0, 1, 2), places(5, 6, 7, 8)}, ""},
		{"some again", true, [][]place{places(0, 1, 2, 1, 2, 3)}, ""},
		{"one missed", true, [][]place{places(0, 1, 3)}, "1 messages were not seen"},
		{"never stored", true, [][]place{places(0, 1, 10)}, "not in the history"},
		{"never stored, lost with the supervisor", false, [][]place{places(0, 1, 10)}, ""},
		{"nothing", true, [][]place{nil}, "nothing was seen"},
	} {
		l := live{terms: terms{keeps: c.keeps}}
		l.compare(&sight{turns: c.turns}, index, back, 0)
		t.Run(c.name, func(t *testing.T) { expect(t, l.problems, c.want) })
	}
}
