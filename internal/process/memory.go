package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The kernel does not say why it has killed a process. It counts those that it has killed for want of memory, so a process that
// was killed while the count grew is taken for one of them.

// kills are counts of what the kernel has killed for want of memory.
type kills struct {
	source string // the file that has them
	before int    // at the look before the last, and those that were found since
	last   int
}

// newKills counts in our control group and those below, where the kernel does, else on the whole machine.
func newKills() kills {
	k := kills{source: "/proc/vmstat"}
	if dir, err := ownGroup(); err == nil {
		if events := filepath.Join(dir, "memory.events"); counter(events, "oom_kill") >= 0 {
			k.source = events
		}
	}
	k.look(k.count())
	k.look(k.count())
	return k
}

func (k *kills) count() int { return counter(k.source, "oom_kill") }

// look takes the count at the moment. A process may take a while to end, so what was new at the last look counts still.
func (k *kills) look(now int) { k.before, k.last = k.last, now }

// take says whether there is a kill of which the victim was not found, which is found now.
func (k *kills) take(now int) bool {
	if now <= k.before {
		return false
	}
	k.before++
	k.last = max(k.last, k.before)
	return true
}

// LookForKills is to be called about every second.
func (s *Spawner) LookForKills() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kills.look(s.kills.count())
}

// starved says whether a process that was killed was so for want of memory.
func (s *Spawner) starved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kills.take(s.kills.count())
}

// counter reads one line of a file of names and values. Without it, as before Linux 4.13, it is -1.
func counter(path, name string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				return n
			}
		}
	}
	return -1
}
