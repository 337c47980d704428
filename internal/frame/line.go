package frame

import (
	"bytes"
	"slices"
)

// line is the framing of text protocols:
//
//	payload delimiter payload delimiter …
//
// A payload longer than maxBytes comes in pieces of maxBytes, flagged Continued, and a last one that is not. So a payload
// of maxBytes exactly is whole, which is why Split must see the bytes behind it, and one of n times maxBytes ends with a
// full piece. An empty frame ends a line only if silence came between its payload and its delimiter.
type line struct {
	delimiter []byte
	maxBytes  int
}

func newLine(s Spec) line {
	// A copy, as a config that is read again changes it.
	return line{slices.Clip(bytes.Clone(s.Delimiter)), s.MaxBytes}
}

func (l line) Split(data []byte, at Position) Frame {
	// A delimiter may begin in the bytes that were searched, and end behind them.
	from := max(0, at.Scanned-len(l.delimiter)+1)
	to := min(len(data), l.maxBytes+len(l.delimiter))
	if from < to {
		if i := bytes.Index(data[from:to], l.delimiter); i >= 0 {
			end := from + i
			return Frame{Payload: data[:end:end], Size: end + len(l.delimiter)}
		}
	}
	switch {
	case len(data) >= l.maxBytes+len(l.delimiter):
		return whole(data, l.maxBytes, Continued)
	case at.End == More || len(data) == 0:
		return Frame{}
	}
	return rest(data, l.maxBytes, Partial)
}

func (l line) Append(dst, payload []byte, flags Flags) []byte {
	dst = append(dst, payload...)
	if flags&(Partial|Continued|Malformed) != 0 || bytes.HasSuffix(payload, l.delimiter) {
		return dst
	}
	return append(dst, l.delimiter...)
}

func (l line) Payload(wire []byte, flags Flags) []byte {
	if flags&(Partial|Continued|Malformed) != 0 {
		return wire
	}
	return bytes.TrimSuffix(wire, l.delimiter)
}
