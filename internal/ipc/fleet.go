package ipc

import "strings"

// HeaderHistorySeq tells, in a hub's stream, where in its gateway's history a message stands: the history's incarnation, a dot, and
// the sequence.
const HeaderHistorySeq = "Serial-History-Seq"

// HeaderHistoryUpTo is beside HeaderHistorySeq in a message that came to the hub behind later ones, because the hub had lost it
// first: the sequence up to which all is there with it.
const HeaderHistoryUpTo = "Serial-History-Up-To"

// HeaderUnstored is in what a hub's subscribers are shown of a gateway while the hub's stream stores nothing: the id with which the
// message comes again, without this header, when it is stored. It is empty where a message has no id, such as a state.
const HeaderUnstored = "Serial-Unstored"

// FleetSubjects builds the subjects of a gateway on a hub.
type FleetSubjects struct {
	Subjects        // below "fleet.<name>"
	Fleet    string // what those of all gateways begin with: "fleet"
	Name     string // of the gateway
}

// NewFleetSubjects are those of a gateway.
func NewFleetSubjects(fleet, name string) FleetSubjects {
	return FleetSubjects{Subjects{fleet + "." + name}, fleet, name}
}

// OfAll are the subjects of all gateways.
func (f FleetSubjects) OfAll() FleetSubjects { return NewFleetSubjects(f.Fleet, "*") }

// Status is where the supervisor of the gateway answers with a Status.
func (f FleetSubjects) Status() string { return f.Root + ".status" }

// Inbox is what the subjects begin with on which the hub answers the gateway itself, and which no other gateway may hear.
func (f FleetSubjects) Inbox() string {
	return "_INBOX_" + strings.ReplaceAll(f.Fleet, ".", "_") + "_" + f.Name
}

// LeafStatus says how the gateway stands with its hub.
type LeafStatus struct {
	Connected bool   `json:"connected"`
	URL       string `json:"url"`    // of the hub's server, while it is connected
	Behind    uint64 `json:"behind"` // messages in the history that the hub has not stored, as far as that is known
	Lost      uint64 `json:"lost"`   // messages that the hub will never have, as the history did not keep them for so long, or it does not take them
	Error     string `json:"error,omitempty"`
}
