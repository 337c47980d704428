// Package frame turns a stream of bytes into frames and frames into bytes. It does no I/O: the bytes stay where the caller
// has them.
package frame

import (
	"fmt"
	"strings"
)

// Flags say what is notable of a frame.
type Flags uint8

// The flags.
const (
	Partial   Flags = 1 << iota // the frame was not finished: silence, or the port closed
	Continued                   // the frame goes on in the next one: it was longer than MaxBytes
	Gap                         // bytes before it were lost
	Malformed                   // the payload is no frame but the bytes as they came, delimiters included
	Padded                      // Cobs: an empty block stood behind a full one, which not every encoder writes
)

var flagNames = []struct {
	flag Flags
	name string
}{{Partial, "partial"}, {Continued, "continued"}, {Gap, "gap"}, {Malformed, "malformed"}, {Padded, "padded"}}

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
		return 0, fmt.Errorf("unknown flag %q; there are partial, continued, gap, malformed and padded", name)
	}
	return f, nil
}

// Frame is what Split has found:
//
//	| Skip bytes of no frame | Size bytes of the frame | …
//
// With Size 0 there is none yet and more bytes are needed.
type Frame struct {
	Payload []byte
	Skip    int // delimiters in front, of empty packets in Slip and Cobs
	Size    int // on the line, with its delimiter
	Flags   Flags
}

// End says what comes behind the bytes of a Split.
type End int

// The ends.
const (
	More    End = iota // more bytes may follow at once
	Silence            // nothing came for as long as Spec.Silence says
	Closed             // nothing will come
)

// Position is where in the stream the bytes of a Split stand.
type Position struct {
	Scanned   int  // how many of them an earlier Split has seen, which needed more
	Continued bool // the frame before them was flagged Continued
	End       End
}

// Codec splits a stream of bytes into frames, and makes frames ready to be sent. It belongs to one goroutine.
type Codec interface {
	// Split finds the first frame in data. The payload is a part of data, or for codecs that decode the codec's own and
	// valid until the next Split. After Silence and Closed what is left is a frame flagged Partial, where silence does
	// not end a frame in the usual way.
	//
	// However the stream is cut into calls, the frames are the same, ends apart; frames of Raw are what each call has.
	// All frames put through Append, and the delimiters that they skip, are the stream.
	Split(data []byte, at Position) Frame
	// Append appends a frame to dst as it goes to the device: Line adds the delimiter unless payload ends with it, Slip
	// and Cobs encode. A payload that is flagged Partial, Continued or Malformed is appended as it is.
	Append(dst, payload []byte, flags Flags) []byte
	// Payload is the inverse of Append, for a frame that Split has found: the payload of its bytes on the line. It belongs
	// to whom Split's does.
	Payload(wire []byte, flags Flags) []byte
}

// New makes the codec of a Spec.
func New(s Spec) (Codec, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	switch s.Type {
	case Line:
		return newLine(s), nil
	case Fixed:
		return fixed{s.Bytes}, nil
	case Length:
		return newLength(s), nil
	case GapType:
		return gap{s.MaxBytes}, nil
	case Slip:
		return newSlip(s), nil
	case Cobs:
		return newCobs(s), nil
	}
	return raw{s.MaxBytes}, nil
}

// whole is a frame of the first n bytes.
func whole(data []byte, n int, flags Flags) Frame {
	// Clipped, so that who appends to the payload does not write over what follows it.
	return Frame{Payload: data[:n:n], Size: n, Flags: flags}
}

// rest is what is left of a stream that has come to an end, in pieces of at most most bytes.
func rest(data []byte, most int, flags Flags) Frame {
	if len(data) > most {
		return whole(data, most, Continued)
	}
	return whole(data, len(data), flags)
}
