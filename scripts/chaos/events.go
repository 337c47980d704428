package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// deed is a kind of thing that is done to a gateway and its surroundings.
type deed int

// The deeds. Those with a length last: the process is stopped, the supervisor away, the device unplugged or deaf.
const (
	killReader deed = iota
	killWriter
	killBoth  // workers of a port
	killAll   // workers
	killAgain // reader and writer of a port, and their successors as soon as they are there
	stopReader
	stopWriter
	killSupervisor
	endSupervisor
	stopSupervisor
	unplug
	unplugCut    // in the middle of a frame that it says
	unplugDeaf   // after it has not read for a time, so that a frame to it is under way
	unplugKilled // in the moment in which reader and writer are killed
	beDeaf
	killTap
	stopTap
	killSender
	stopSender
	deeds // how many there are
)

var deedNames = [deeds]string{
	"kill the reader of", "kill the writer of", "kill reader and writer of", "kill all workers", "kill again and again reader and writer of", "stop the reader of", "stop the writer of",
	"kill the supervisor", "end the supervisor", "stop the supervisor", "unplug", "unplug in mid-frame", "unplug when deaf", "kill reader and writer and unplug", "make deaf",
	"kill the tap", "stop the tap", "kill the sender to", "stop the sender to",
}

// shares are how often each deed is drawn.
var shares = [deeds]int{
	killReader: 18, killWriter: 18, killBoth: 6, killAll: 2, killAgain: 6, stopReader: 6, stopWriter: 6, killSupervisor: 6, endSupervisor: 2, stopSupervisor: 3,
	unplug: 4, unplugCut: 4, unplugDeaf: 3, unplugKilled: 3, beDeaf: 6, killTap: 3, stopTap: 2, killSender: 4, stopSender: 2,
}

// ofPort says whether a deed concerns one port; ofPlug whether one that can be unplugged.
func (d deed) ofPort() bool {
	switch d {
	case killAll, killSupervisor, endSupervisor, stopSupervisor, killTap, stopTap:
		return false
	}
	return true
}

func (d deed) ofPlug() bool {
	return d == unplug || d == unplugCut || d == unplugDeaf || d == unplugKilled
}

// event is a deed at a time.
type event struct {
	at     time.Duration // since the phase began
	deed   deed
	port   int
	length time.Duration
	// behind is how long after the port's next bytes a process is killed or stopped: most of the time none are under way.
	behind time.Duration
}

// schedule draws events from a seed, for ever: the same whatever comes of them.
type schedule struct {
	random *rand.Rand
	ports  []portPlan
	now    time.Duration
	burst  int // events to come right behind each other
}

func newSchedule(seed uint64, ports []portPlan) *schedule {
	return &schedule{random: rand.New(rand.NewPCG(seed, 0xe7e7)), ports: ports}
}

// next is the next event: mostly a while after the one before, sometimes within milliseconds.
func (s *schedule) next() event {
	if s.burst > 0 {
		s.burst--
		s.now += time.Duration(s.random.IntN(20_000)) * time.Microsecond
	} else {
		s.now += time.Duration(s.random.IntN(400)) * time.Millisecond
		if s.random.IntN(8) == 0 {
			s.burst = 1 + s.random.IntN(4)
		}
	}
	e := event{at: s.now, deed: s.draw()}
	// Drawn in any case, so that a deed more or less changes little of what follows.
	port, length, long := s.random.IntN(len(s.ports)), s.random.Float64(), s.random.IntN(12) == 0
	switch {
	case e.deed.ofPlug():
		var plugs []int
		for i, p := range s.ports {
			if p.plug {
				plugs = append(plugs, i)
			}
		}
		if len(plugs) == 0 {
			return s.next()
		}
		e.port = plugs[port%len(plugs)]
	default:
		e.port = port
	}
	part := s.random.Float64()
	e.behind = time.Duration(part * part * float64(5*time.Millisecond))
	e.length = lengthOf(e.deed, length, long)
	return e
}

func (s *schedule) draw() deed {
	sum := 0
	for _, n := range shares {
		sum += n
	}
	at := s.random.IntN(sum)
	for d, n := range shares {
		if at -= n; at < 0 {
			return deed(d)
		}
	}
	panic("unreachable")
}

// lengthOf is how long a deed lasts. A few last longer than streams remember messages by their ids, which is 5 s.
func lengthOf(d deed, part float64, long bool) time.Duration {
	most, longest := time.Second, 7*time.Second
	switch d {
	case stopReader, stopWriter, stopSender:
		most = 2 * time.Second
	case stopSupervisor:
		longest = 4 * time.Second
	case stopTap:
		longest = 14 * time.Second // the broker waits 10 s for one that does not read
	case killSupervisor, endSupervisor, unplug, unplugCut, unplugKilled:
	case unplugDeaf, beDeaf:
		longest = 3 * time.Second
	default:
		return 0
	}
	if long {
		return (longest * 3 / 4) + time.Duration(part*float64(longest)/4)
	}
	return time.Millisecond + time.Duration(part*part*float64(most))
}

// toDevice says whether a deed is best done while a frame is on its way to the device, else while the device speaks.
func (d deed) toDevice() bool {
	return d == killWriter || d == stopWriter || d == killSender || d == stopSender
}

// words say what an event is.
func (e event) words(ports []portPlan) string {
	text := deedNames[e.deed]
	if e.deed.ofPort() {
		text += " " + ports[e.port].name
	}
	if e.length > 0 {
		text += fmt.Sprintf(" for %d ms", e.length.Milliseconds())
	}
	return text
}
