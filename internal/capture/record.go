// Package capture is recorded traffic in files: it writes records as raw bytes, JSON lines, CSV and pcapng, and reads
// back all but the first, which has no times. It does no I/O of its own.
package capture

import (
	"encoding/json"
	"slices"
	"time"
)

// Kinds of records, named as the last token of their subject.
const (
	Rx      = "rx"      // a frame that was received
	Sent    = "sent"    // a frame that was sent
	State   = "state"   // a change of the port's state
	Expired = "expired" // a frame that was to be sent and was not
)

// Record is one message of the traffic.
type Record struct {
	Time    time.Time
	Port    string // empty where the format has none
	Kind    string
	ID      string // Nats-Msg-Id
	Offset  uint64 // Rx: of the first byte since the port opened
	Skipped int    // Rx: delimiters in front that framing has taken away; NotSaid
	Flags   string // Rx: as frame.Flags has them
	Reason  string // Expired: why
	Payload []byte // Rx: without what framing takes away; State: JSON. A reader has it only from JSON lines

	// Wire is, for Rx, the frame as it was on the line, with delimiters in front and behind; nil where that is not known.
	// A frame that was sent is its own Payload.
	Wire []byte
}

// NotSaid is the Skipped of a record that does not say, as those of readers before there was ipc.HeaderSkipped.
const NotSaid = -1

// line is what was on the line.
func (r Record) line() []byte {
	if r.Kind == Sent || r.Kind == Expired { // or was to be there
		return r.Payload
	}
	return r.Wire
}

// PortState is what the payload of a State says.
type PortState struct {
	State  string `json:"state"`
	Device string `json:"device"`
	Error  string `json:"error"`
}

// PortState decodes the payload of a State.
func (r Record) PortState() (PortState, error) {
	var s PortState
	err := json.Unmarshal(r.Payload, &s)
	return s, err
}

// Format of a file.
type Format string

// The formats.
const (
	Raw    Format = "raw"    // the bytes received, and nothing else
	JSONL  Format = "jsonl"  // a JSON document on each line
	CSV    Format = "csv"    // RFC 4180, for spreadsheets
	PCAPNG Format = "pcapng" // for Wireshark and its like
)

// Formats lists all formats.
var Formats = []Format{Raw, JSONL, CSV, PCAPNG}

// Valid says whether there is such a format.
func (f Format) Valid() bool { return slices.Contains(Formats, f) }

// Binary says whether a terminal should be spared the format.
func (f Format) Binary() bool { return f == Raw || f == PCAPNG }
