package frame

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Types of framing.
const (
	Line    = "line"   // a frame ends with a delimiter
	Raw     = "raw"    // whatever is there is a frame
	Fixed   = "fixed"  // all frames have the same length
	Length  = "length" // a frame says how long it is
	GapType = "gap"    // silence ends a frame
	Slip    = "slip"   // RFC 1055
	Cobs    = "cobs"   // Cheshire and Baker, Consistent Overhead Byte Stuffing, 1999
)

// Types lists all types.
var Types = []string{Line, Raw, Fixed, Length, GapType, Slip, Cobs}

// Limits of a Spec.
const (
	MaxFrameBytes     = 8 << 20
	MaxDelimiterBytes = 16
	DefaultMaxBytes   = 64 << 10
)

// Spec describes a framing.
type Spec struct {
	Type      string        `json:"type"`
	MaxBytes  int           `json:"max_bytes"`            // of one payload; a longer one comes in pieces
	IdleFlush time.Duration `json:"idle_flush,omitempty"` // silence after which what is there is a frame; 0: it is never

	Delimiter []byte        `json:"delimiter,omitempty"` // Line: 1 to 16 bytes
	Bytes     int           `json:"bytes,omitempty"`     // Fixed: of every frame
	Gap       time.Duration `json:"gap,omitempty"`       // GapType: the silence

	// Length: the number's place in the frame, and what it counts:
	//
	//	| Offset bytes | number of Size bytes | … |
	//
	// A frame has Offset + Size + number + Extra bytes, without Size if the number counts itself.
	Size         int    `json:"size,omitempty"`       // 1, 2 or 4
	ByteOrder    string `json:"byte_order,omitempty"` // BigEndian, LittleEndian
	Offset       int    `json:"offset,omitempty"`
	CountsItself bool   `json:"counts_itself,omitempty"`
	Extra        int    `json:"extra,omitempty"` // bytes that it does not count, such as a checksum behind; or counts too, if negative
}

// Values of Spec.ByteOrder.
const (
	BigEndian    = "big"
	LittleEndian = "little"
)

// Default is lines that end with a line feed.
func Default() Spec { return Spec{Type: Line, Delimiter: []byte("\n"), MaxBytes: DefaultMaxBytes} }

// Validate says what is wrong with a Spec.
func (s Spec) Validate() error {
	switch {
	case !slices.Contains(Types, s.Type):
		return fmt.Errorf("unknown type %q; there are %s", s.Type, strings.Join(Types, ", "))
	case s.MaxBytes < 1 || s.MaxBytes > MaxFrameBytes:
		return fmt.Errorf("max_bytes is 1 to %d, not %d", MaxFrameBytes, s.MaxBytes)
	case s.IdleFlush < 0:
		return fmt.Errorf("idle_flush cannot be negative")
	case s.Type != Line && len(s.Delimiter) > 0:
		return fmt.Errorf("%s framing has no delimiter", s.Type)
	}
	switch s.Type {
	case Line:
		if len(s.Delimiter) < 1 || len(s.Delimiter) > MaxDelimiterBytes {
			return fmt.Errorf("a delimiter has 1 to %d bytes, not %d", MaxDelimiterBytes, len(s.Delimiter))
		}
	case Fixed:
		if s.Bytes < 1 || s.Bytes > MaxFrameBytes {
			return fmt.Errorf("bytes is 1 to %d, not %d", MaxFrameBytes, s.Bytes)
		}
	case GapType:
		if s.Gap <= 0 {
			return fmt.Errorf("gap is a duration above 0, not %s", s.Gap)
		}
	case Length:
		return s.validateLength()
	}
	return nil
}

func (s Spec) validateLength() error {
	switch {
	case s.Size != 1 && s.Size != 2 && s.Size != 4:
		return fmt.Errorf("size is 1, 2 or 4, not %d", s.Size)
	case s.ByteOrder != BigEndian && s.ByteOrder != LittleEndian:
		return fmt.Errorf("byte_order is big or little, not %q", s.ByteOrder)
	case s.Offset < 0 || s.Offset+s.Size > s.MaxBytes:
		return fmt.Errorf("with offset %d the length ends at byte %d, beyond max_bytes: %d", s.Offset, s.Offset+s.Size, s.MaxBytes)
	case s.Extra < -MaxFrameBytes || s.Extra > MaxFrameBytes:
		return fmt.Errorf("extra is %d to %d, not %d", -MaxFrameBytes, MaxFrameBytes, s.Extra)
	}
	return nil
}

// Silence is how long nothing must come for Split to be told of it; 0: it need not be.
func (s Spec) Silence() time.Duration {
	if s.Type == GapType {
		return s.Gap
	}
	return s.IdleFlush
}

// WireBytes is the most bytes that can be needed to find a frame: more than so many never wait.
func (s Spec) WireBytes() int {
	switch s.Type {
	case Line:
		return s.MaxBytes + len(s.Delimiter)
	case Fixed:
		return s.Bytes
	case Length: // what is no header is known only when the next ones were looked at
		return s.MaxBytes + s.Offset + s.Size
	case Slip:
		return slipBytes(s.MaxBytes) + maxRun
	case Cobs:
		return cobsBytes(s.MaxBytes) + maxRun
	}
	return s.MaxBytes + 1
}

// Between is the byte that stands between frames and belongs to none, if the framing has one: wherever the offsets of
// received frames leave room for up to MaxSkip bytes, it was there, unless bytes were lost.
func (s Spec) Between() (b byte, ok bool) {
	switch s.Type {
	case Slip:
		return slipEnd, true
	case Cobs:
		return 0, true
	}
	return 0, false
}
