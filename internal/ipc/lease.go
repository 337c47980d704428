package ipc

import (
	"fmt"
	"time"
)

// Actions of a lease request.
const (
	LeaseShow    = "show"    // who has it
	LeaseAcquire = "acquire" // take it, or with its token renew it
	LeaseRenew   = "renew"
	LeaseRelease = "release"
)

// LeaseRequest asks for the right to be the only client that writes to a port. An empty one shows who has it.
type LeaseRequest struct {
	Action string `json:"action,omitempty"`
	TTL    string `json:"ttl,omitempty"`    // acquire, renew: for how long, a duration; 30s
	Holder string `json:"holder,omitempty"` // acquire: a name, for the others to see
	Token  string `json:"token,omitempty"`  // renew, release
	Alive  string `json:"alive,omitempty"`  // acquire: an inbox; the lease ends when nobody is subscribed to it any more
}

// LeaseReply answers a lease request. One that is refused has HeaderErrorCode and HeaderError, and with CodeLeased says who
// has the lease.
type LeaseReply struct {
	Port    string    `json:"port"`
	Held    bool      `json:"held"`
	Holder  string    `json:"holder,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Token   string    `json:"token,omitempty"` // for who has acquired it; goes into HeaderLease of what is to be written
}

// LeaseStatus is a lease in a PortStatus.
type LeaseStatus struct {
	Holder  string    `json:"holder"`
	Expires time.Time `json:"expires"`
}

// Durations of a lease.
const (
	DefaultLease  = 30 * time.Second
	ShortestLease = 100 * time.Millisecond
	LongestLease  = 24 * time.Hour
)

// HeldBy words why somebody may not write.
func HeldBy(holder string, left time.Duration) string {
	return fmt.Sprintf("%s has a lease on the port, for another %s unless it renews it", holder, left.Round(time.Millisecond))
}
