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

func isLeaf(text string) bool {
	return leafNotice.MatchString(text) || strings.Contains(text, "eafnode")
}

// repeats says whether a line is about the hub and was logged lately.
func (l *leafLog) repeats(text string, now time.Time) bool {
	if !isLeaf(text) {
		return false
	}
	short := leafNotice.ReplaceAllString(text, "")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = short
	if remedy := leafRemedy(text); remedy != "" {
		l.last += "; " + remedy
	}
	if l.told == nil || len(l.told) > 64 {
		l.told = map[string]time.Time{}
	}
	if at, told := l.told[short]; told && now.Sub(at) < tellAgain {
		return true
	}
	l.told[short] = now
	return false
}

// leafRemedies are what helps against what the hub says, or what is found out of it.
var leafRemedies = []struct{ says, remedy string }{
	{"Authorization Violation", "the hub does not know who this is: see that user and password in broker.leaf.urls, or the key in broker.leaf.credentials, are those of a user there"},
	{"Authentication Timeout", "the link is slower than the hub has patience: set leafnodes {authorization {timeout: 10}} there"},
	{"x509: ", "see that broker.leaf.ca is who signed the hub's certificate, and that the certificate is for the host in broker.leaf.urls"},
}

// leafRemedy is what helps against what a line says, if it is about the hub, or empty.
func leafRemedy(text string) string {
	if !isLeaf(text) {
		return ""
	}
	for _, r := range leafRemedies {
		if strings.Contains(text, r.says) {
			return r.remedy
		}
	}
	return ""
}

// LinkProblem is what went wrong last with the connection to the hub and what helps, or empty.
func (b *Broker) LinkProblem() string {
	b.log.leaf.mu.Lock()
	defer b.log.leaf.mu.Unlock()
	return b.log.leaf.last
}
