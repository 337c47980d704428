// Package frame turns a stream of bytes into frames and frames into bytes. It does no I/O and keeps no state between
// calls: the bytes stay where the caller has them.
package frame

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Flags say what is notable of a frame.
type Flags uint8

// The flags.
const (
	Partial   Flags = 1 << iota // the frame ended without its delimiter: silence, or the port closed
	Continued                   // the frame goes on in the next one: it was longer than MaxBytes
	Gap                         // bytes before it were lost
)

var flagNames = []struct {
	flag Flags
	name string
}{{Partial, "partial"}, {Continued, "continued"}, {Gap, "gap"}}

// String joins the names of the flags with commas; no flags give an empty string.
func (f Flags) String() string {
	var names []string
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// ParseFlags is the inverse of String.
func ParseFlags(s string) (Flags, error) {
	var f Flags
	if s == "" {
		return 0, nil
	}
names:
	for name := range strings.SplitSeq(s, ",") {
		for _, n := range flagNames {
			if n.name == strings.TrimSpace(name) {
				f |= n.flag
				continue names
			}
		}
		return 0, fmt.Errorf("unknown flag %q; there are partial, continued and gap", name)
	}
	return f, nil
}

// Limits of a Spec.
const (
	MaxFrameBytes     = 8 << 20
	MaxDelimiterBytes = 16
	DefaultMaxBytes   = 64 << 10
)

// Types of framing.
const (
	Line = "line" // a frame ends with a delimiter
	Raw  = "raw"  // whatever is there is a frame
)

// Spec describes a framing.
type Spec struct {
	Type      string        `json:"type"`
	Delimiter []byte        `json:"delimiter,omitempty"`  // Line: 1 to 16 bytes
	MaxBytes  int           `json:"max_bytes"`            // of one frame without its delimiter
	IdleFlush time.Duration `json:"idle_flush,omitempty"` // silence after which what is there is a frame; 0: it is never
}

// Default is lines that end with a line feed.
func Default() Spec { return Spec{Type: Line, Delimiter: []byte("\n"), MaxBytes: DefaultMaxBytes} }

// Validate says what is wrong with a Spec.
func (s Spec) Validate() error {
	switch {
	case s.Type != Line && s.Type != Raw:
		return fmt.Errorf("unknown type %q; there are line and raw", s.Type)
	case s.Type == Line && (len(s.Delimiter) < 1 || len(s.Delimiter) > MaxDelimiterBytes):
		return fmt.Errorf("a delimiter has 1 to %d bytes, not %d", MaxDelimiterBytes, len(s.Delimiter))
	case s.Type == Raw && len(s.Delimiter) > 0:
		return fmt.Errorf("raw frames have no delimiter")
	case s.MaxBytes < 1 || s.MaxBytes > MaxFrameBytes:
		return fmt.Errorf("max_bytes is 1 to %d, not %d", MaxFrameBytes, s.MaxBytes)
	case s.IdleFlush < 0:
		return fmt.Errorf("idle_flush cannot be negative")
	}
	return nil
}

// Codec splits a stream of bytes into frames, and makes frames ready to be sent. It has no state and may be used by
// several goroutines.
type Codec interface {
	// Split finds the first frame in data. The payload is a part of data; size is how many bytes the frame takes with
	// its delimiter, and 0 if more bytes are needed. Of data, the first scanned bytes were searched in an earlier call
	// that needed more, and need not be searched again. final says that no bytes will join these, because of silence
	// or because the port is closed: then what is left is a frame flagged Partial.
	//
	// However the stream is cut into calls, the frames are the same, final apart; frames of Raw are what each call has.
	// Payloads joined, each with the delimiter unless it is flagged Partial or Continued, are the stream.
	Split(data []byte, scanned int, final bool) (payload []byte, size int, flags Flags)
	// Append appends a frame to dst as it goes to the device: Line adds the delimiter, unless payload ends with it or
	// flags has Partial or Continued.
	Append(dst, payload []byte, flags Flags) []byte
	// Delimiter is what Split removes behind each frame that is not flagged Partial or Continued; empty if nothing. The
	// caller must not change it.
	Delimiter() []byte
}

// New makes the codec of a Spec.
func New(s Spec) (Codec, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Type == Raw {
		return raw{s.MaxBytes}, nil
	}
	// Clipped, so that two callers who append to it do not write to the same spare bytes.
	return line{slices.Clip(bytes.Clone(s.Delimiter)), s.MaxBytes}, nil
}
