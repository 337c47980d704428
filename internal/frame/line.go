package frame

import "bytes"

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

func (l line) Delimiter() []byte { return l.delimiter }

func (l line) Split(data []byte, scanned int, final bool) ([]byte, int, Flags) {
	// A delimiter may begin in the bytes that were searched, and end behind them.
	from := max(0, scanned-len(l.delimiter)+1)
	to := min(len(data), l.maxBytes+len(l.delimiter))
	if from < to {
		if i := bytes.Index(data[from:to], l.delimiter); i >= 0 {
			end := from + i
			return data[:end:end], end + len(l.delimiter), 0
		}
	}
	switch {
	case len(data) >= l.maxBytes+len(l.delimiter):
		return data[:l.maxBytes:l.maxBytes], l.maxBytes, Continued
	case !final || len(data) == 0:
		return nil, 0, 0
	case len(data) > l.maxBytes:
		return data[:l.maxBytes:l.maxBytes], l.maxBytes, Continued
	}
	return data[:len(data):len(data)], len(data), Partial
}

func (l line) Append(dst, payload []byte, flags Flags) []byte {
	dst = append(dst, payload...)
	if flags&(Partial|Continued) != 0 || bytes.HasSuffix(payload, l.delimiter) {
		return dst
	}
	return append(dst, l.delimiter...)
}
