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
	before int // at the look before the last, and those that were found since
	last   int
}

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
	s.kills.look(countKills())
}

// starved says whether a process that was killed was so for want of memory.
func (s *Spawner) starved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kills.take(countKills())
}

// countKills counts in our control group and those below, where the kernel does, else on the whole machine.
func countKills() int {
	if dir, err := ownGroup(); err == nil {
		if n, err := counter(filepath.Join(dir, "memory.events"), "oom_kill"); err == nil {
			return n
		}
	}
	n, _ := counter("/proc/vmstat", "oom_kill") // there is none before Linux 4.13
	return n
}

// counter reads one line of a file of names and values.
func counter(path, name string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == name {
			return strconv.Atoi(value)
		}
	}
	return 0, os.ErrNotExist
}
