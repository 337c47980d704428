package main

import (
	"bytes"
	"sort"
	"syscall"
)

// stored is a message of the history, on rx or sent.
type stored struct {
	session string
	offset  uint64 // in the session
	queue   uint64 // sequence in the queue
	flags   string
	payload []byte
	at      int64 // Serial-Time, ns since 1970
}

// received compares what the history has received on a port with what its device has said, to the byte. The payloads of a
// session, with their delimiters, are one piece of what was said, beginning at the session's offset 0. What is between
// the pieces was lost, and may be
//
//   - at the end of a device's life, as much as a pseudo-terminal holds;
//   - where a session ended as its supervisor was killed, and nobody kept descriptors: what the device had said before, as
//     much as ring and pipe hold.
type received struct {
	terms
	speech   talk
	maxBytes int
	said     []saying
	ends     []int // of each frame, in bytes of all that was said

	session string
	next    uint64              // offset in it that comes next
	at      int64               // when what came last was read
	offsets map[string][]uint64 // of the messages of each session
	times   map[string][]int64  // when they were read
	order   []string            // sessions as they came

	pos    int  // behind what came last, in bytes of all that was said
	from   int  // since where nothing was lost
	known  bool // pos is right for the session
	first  bool // nothing of the session was placed yet
	held   []stored
	before string // flags of what came last

	counts receivedCounts
}

type receivedCounts struct {
	said, cut                    int // whole, and cut off by unplugging
	stored                       int // whole
	withDevice, withSupervisor   int // lost, and allowed to
	lost, doubled, disorder, odd int
	sessions                     int
}

// ringRoom is what ring and pipe of a port hold at most, with the frames of these ports.
const ringRoom = 1<<20 + 64<<10

func newReceived(t terms, speech talk, maxBytes int, said []saying) *received {
	r := &received{terms: t, speech: speech, maxBytes: maxBytes, said: said, offsets: map[string][]uint64{}, times: map[string][]int64{}}
	end := 0
	for _, s := range said {
		end += s.bytes
		r.ends = append(r.ends, end)
		if s.whole {
			r.counts.said++
		} else {
			r.counts.cut++
		}
	}
	return r
}

// start is where frame n begins, and frameAt the frame that a byte is of.
func (r *received) start(n int) int { return r.ends[n] - r.said[n].bytes }

func (r *received) frameAt(pos int) int { return sort.SearchInts(r.ends, pos+1) }

// add takes the messages in, in the order of the stream.
func (r *received) add(m stored) {
	if m.session != r.session {
		r.endSession()
		if m.session < r.session {
			r.counts.disorder++
			r.problem(m.at, "session %s comes behind session %s", m.session, r.session)
		}
		r.session, r.next, r.known, r.first, r.before = m.session, 0, false, true, ""
		r.order = append(r.order, m.session)
		r.counts.sessions++
	}
	wire := r.wireOf(m)
	switch {
	case m.offset < r.next:
		r.counts.doubled++
		r.problem(m.at, "offset %d of session %s comes again: %.40q", m.offset, m.session, m.payload)
		return
	case m.offset > r.next:
		r.place()
		r.known = false
		r.problem(m.at, "offsets %d to %d of session %s are missing", r.next, m.offset, m.session)
	}
	r.offsets[m.session] = append(r.offsets[m.session], m.offset)
	r.times[m.session] = append(r.times[m.session], m.at)
	r.next = m.offset + uint64(len(wire))
	r.held = append(r.held, m)
	if r.known || r.speech.start(wire) >= 0 {
		r.place()
	}
}

// wireOf is a message as it was on the line.
func (r *received) wireOf(m stored) []byte {
	if r.speech.binary || m.flags != "" {
		return m.payload
	}
	return append(bytes.Clone(m.payload), '\n')
}

// endSession does what can be done about a session.
func (r *received) endSession() { r.place() }

// place finds out where in what was said the messages are that are held, and goes on behind them.
func (r *received) place() {
	if len(r.held) == 0 {
		return
	}
	held := r.held
	r.held = nil
	var all []byte
	for _, m := range held {
		all = append(all, r.wireOf(m)...)
	}
	pos, ok := r.locate(all)
	if !ok {
		r.counts.odd++
		r.known = false
		r.problem(held[0].at, "what the device has not said is stored, or not where it belongs: offset %d of session %s: %.60q", held[0].offset, r.session, all)
		return
	}
	if pos != r.pos {
		r.lose(r.pos, pos, held[0].at)
	}
	for _, m := range held {
		n := len(r.wireOf(m))
		r.bounds(m, pos, pos+n)
		pos += n
		r.at, r.first, r.before = m.at, false, m.flags
	}
	r.pos, r.known = pos, true
}

// locate finds bytes in what was said: right behind what came before, else by the number of the frame that begins in them,
// else at the beginning of a life.
func (r *received) locate(b []byte) (pos int, ok bool) {
	if r.matches(r.pos, b) {
		return r.pos, true
	}
	if r.known {
		return 0, false
	}
	if i := r.speech.start(b); i >= 0 {
		if n, ok := r.speech.number(b[i:]); ok && n < len(r.said) && r.start(n) >= i && r.matches(r.start(n)-i, b) {
			return r.start(n) - i, true
		}
	}
	for n := range r.said {
		if n == 0 || r.said[n].life != r.said[n-1].life {
			if pos := r.start(n); pos >= r.pos && r.matches(pos, b) {
				return pos, true
			}
		}
	}
	return 0, false
}

// matches says whether the bytes were said there, in one life.
func (r *received) matches(pos int, b []byte) bool {
	n := r.frameAt(pos)
	for life := -1; len(b) > 0; n++ {
		if n == len(r.said) || life >= 0 && r.said[n].life != life {
			return false
		}
		life = r.said[n].life
		frame := r.speech.wire(n)[:r.said[n].bytes][pos-r.start(n):]
		k := min(len(frame), len(b))
		if !bytes.Equal(frame[:k], b[:k]) {
			return false
		}
		b, pos = b[k:], pos+k
	}
	return true
}

// bounds checks that a message is a frame, or a part of one where that may be, and flagged as one.
func (r *received) bounds(m stored, from, to int) {
	n := r.frameAt(from)
	begins := from == r.start(n) || r.before == "continued" || r.first && !r.keeps
	ends := to == r.ends[n] && r.said[n].whole
	good := begins && ends
	switch m.flags {
	case "":
	case "continued":
		good = begins && len(m.payload) == r.maxBytes && to <= r.ends[n]
	case "partial":
		good = begins && to <= r.ends[n] && (r.plug || !r.keeps)
	case "malformed":
		good = r.first && !r.keeps && from != r.start(n) && to <= r.ends[n]
	default:
		good = false
	}
	if !good || r.before == "partial" && !r.first {
		r.counts.odd++
		r.problem(m.at, "bytes %d to %d of frame %d are a message with flags %q behind one with %q", from-r.start(n), to-r.start(n), n, m.flags, r.before)
	}
}

// lose judges what was said between two places and is not stored. until is when what comes behind it was read.
func (r *received) lose(from, to int, until int64) {
	if to < from {
		r.counts.disorder++
		n := r.frameAt(to)
		r.problem(until, "frame %d is stored behind frame %d, in session %s", n, r.frameAt(max(from-1, 0)), r.session)
		r.from = to
		return
	}
	r.counts.stored += r.wholeIn(r.from, from)
	r.from = to
	for from < to {
		// What is of one life.
		n := r.frameAt(from)
		end := n
		for end+1 < len(r.said) && r.said[end+1].life == r.said[n].life && r.ends[end] < to {
			end++
		}
		stop := min(to, r.ends[end])
		over := end+1 < len(r.said) && r.said[end+1].life != r.said[n].life && stop == r.ends[end]
		r.judge(from, stop, over, until)
		from = stop
	}
}

// judge judges a part of one life, to whose end it reaches or not.
func (r *received) judge(from, to int, over bool, until int64) {
	left := to - from
	if over && r.plug {
		left -= min(left, r.room)
	}
	frames := r.touched(from, to)
	switch {
	case left == 0:
		r.counts.withDevice += frames
	case !r.keeps && left <= ringRoom && r.killed(from+left-1, until):
		r.counts.withSupervisor += frames
	default:
		r.counts.lost += frames
		n := r.frameAt(from)
		r.problem(r.said[n].begun, "%d bytes from byte %d of frame %d to frame %d are not stored", to-from, from-r.start(n), n, r.frameAt(to-1))
	}
}

// killed says whether a supervisor was killed after what came last was read and the byte at a place was said, and before
// a time.
func (r *received) killed(at int, until int64) bool {
	for _, e := range r.endings {
		if e.signal == syscall.SIGKILL && e.gone >= r.at && e.gone >= r.said[r.frameAt(at)].begun && e.sent <= until {
			return true
		}
	}
	return false
}

// wholeIn counts whole frames in a part of what was said, and touched all of which there is a byte in it.
func (r *received) wholeIn(from, to int) (count int) {
	for n := r.frameAt(from); n < len(r.said) && r.ends[n] <= to; n++ {
		if r.start(n) >= from && r.said[n].whole {
			count++
		}
	}
	return count
}

func (r *received) touched(from, to int) (count int) {
	for n := r.frameAt(from); n < len(r.said) && r.start(n) < to; n++ {
		if r.said[n].whole {
			count++
		}
	}
	return count
}

// finish judges what is missing at the end.
func (r *received) finish(now int64) receivedCounts {
	r.endSession()
	total := 0
	if len(r.ends) > 0 {
		total = r.ends[len(r.ends)-1]
	}
	if r.pos < total {
		r.lose(r.pos, total, now)
	} else {
		r.counts.stored += r.wholeIn(r.from, r.pos)
	}
	if r.keeps && !r.plug && r.counts.sessions != 1 {
		r.problem(now, "the device stayed plugged in and was opened %d times: sessions %v", r.counts.sessions, r.order)
	}
	if c := r.counts; c.said != c.stored+c.withDevice+c.withSupervisor+c.lost && len(r.problems) == 0 {
		r.problem(now, "the account does not add up: %+v", c)
	}
	if r.counts.said == 0 {
		r.problem(now, "nothing was said")
	}
	return r.counts
}
