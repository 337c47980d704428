package broker

import (
	"regexp"
	"strings"
	"sync"
	"time"
)

// leafLog is what the server says of its connection with the hub. Each attempt that fails is told of anew, once a second if it
// must be; the same is logged once in a while only. The zero value has heard nothing.
type leafLog struct {
	mu   sync.Mutex // guards all below
	told map[string]time.Time
	last string // what went wrong last
}

// tellAgain is how long the same is not logged again.
const tellAgain = 10 * time.Minute

// leafNotice is what such lines begin with: an address, and the number of a connection, which differ each time.
var leafNotice = regexp.MustCompile(`^\S+ - lid:\d+ - `)

// repeats says whether a line is about the hub and was logged lately.
func (l *leafLog) repeats(text string, now time.Time) bool {
	short := leafNotice.ReplaceAllString(text, "")
	if short == text && !strings.Contains(text, "eafnode") {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = short
	if l.told == nil || len(l.told) > 64 {
		l.told = map[string]time.Time{}
	}
	if at, told := l.told[short]; told && now.Sub(at) < tellAgain {
		return true
	}
	l.told[short] = now
	return false
}

// LinkProblem is what went wrong last with the connection to the hub, or empty.
func (b *Broker) LinkProblem() string {
	b.log.leaf.mu.Lock()
	defer b.log.leaf.mu.Unlock()
	return b.log.leaf.last
}
