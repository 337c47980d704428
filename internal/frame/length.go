package frame

import "encoding/binary"

// length is the framing of messages that carry their length, see Spec. The payload is the whole message, header included.
//
// Bytes that cannot be the beginning of a message, as it would be longer than maxBytes or shorter than its header, are
// passed on as one frame flagged Malformed, up to the next place where a message could begin. That place can be wrong, as
// any bytes may look like a length; silence, with Spec.IdleFlush, is a surer way back.
type length struct {
	offset, size int // of the number
	little       bool
	more         int64 // what is added to the number
	maxBytes     int
}

func newLength(s Spec) length {
	l := length{s.Offset, s.Size, s.ByteOrder == LittleEndian, int64(s.Offset + s.Size + s.Extra), s.MaxBytes}
	if s.CountsItself {
		l.more -= int64(s.Size)
	}
	return l
}

// total is how long a message is that begins with the header in data; ok is false if there is none such.
func (l length) total(data []byte) (n int, ok bool) {
	number := data[l.offset : l.offset+l.size]
	var v uint64
	switch {
	case l.size == 1:
		v = uint64(number[0])
	case l.size == 2 && l.little:
		v = uint64(binary.LittleEndian.Uint16(number))
	case l.size == 2:
		v = uint64(binary.BigEndian.Uint16(number))
	case l.little:
		v = uint64(binary.LittleEndian.Uint32(number))
	default:
		v = uint64(binary.BigEndian.Uint32(number))
	}
	t := int64(v) + l.more
	return int(t), t >= int64(l.offset+l.size) && t <= int64(l.maxBytes)
}

func (l length) Split(data []byte, at Position) Frame {
	header := l.offset + l.size
	if len(data) == 0 {
		return Frame{}
	}
	if len(data) >= header {
		n, ok := l.total(data)
		switch {
		case ok && len(data) >= n:
			return whole(data, n, 0)
		case !ok:
			return l.garbage(data, at)
		}
	}
	if at.End == More {
		return Frame{}
	}
	return rest(data, l.maxBytes, Partial)
}

// garbage passes on what is before the next possible header.
func (l length) garbage(data []byte, at Position) Frame {
	header := l.offset + l.size
	for i := max(1, at.Scanned-header+1); i <= l.maxBytes; i++ {
		if i == l.maxBytes && len(data) >= i {
			return whole(data, i, Malformed)
		}
		if i+header > len(data) {
			break
		}
		if _, ok := l.total(data[i:]); ok {
			return whole(data, i, Malformed)
		}
	}
	if at.End == More {
		return Frame{}
	}
	return rest(data, l.maxBytes, Malformed)
}

func (length) Append(dst, payload []byte, _ Flags) []byte { return append(dst, payload...) }

func (length) Payload(wire []byte, _ Flags) []byte { return wire }
