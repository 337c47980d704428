package frame

// raw is no framing: frames are whatever comes at once, cut at maxBytes.
type raw struct{ maxBytes int }

func (r raw) Split(data []byte, _ Position) Frame { return whole(data, min(len(data), r.maxBytes), 0) }

func (raw) Append(dst, payload []byte, _ Flags) []byte { return append(dst, payload...) }

func (raw) Payload(wire []byte, _ Flags) []byte { return wire }

// fixed is the framing of devices whose messages all have the same length. It has nothing to find a lost byte by but
// silence, with Spec.IdleFlush.
type fixed struct{ bytes int }

func (f fixed) Split(data []byte, at Position) Frame {
	switch {
	case len(data) >= f.bytes:
		return whole(data, f.bytes, 0)
	case at.End == More || len(data) == 0:
		return Frame{}
	}
	return whole(data, len(data), Partial)
}

func (fixed) Append(dst, payload []byte, _ Flags) []byte { return append(dst, payload...) }

func (fixed) Payload(wire []byte, _ Flags) []byte { return wire }

// gap is the framing of Modbus RTU and its like: silence ends a frame. One that is longer than maxBytes comes in pieces.
type gap struct{ maxBytes int }

func (g gap) Split(data []byte, at Position) Frame {
	switch {
	case len(data) > g.maxBytes:
		return whole(data, g.maxBytes, Continued)
	case at.End == More || len(data) == 0:
		return Frame{}
	case at.End == Silence:
		return whole(data, len(data), 0)
	}
	return whole(data, len(data), Partial)
}

func (gap) Append(dst, payload []byte, _ Flags) []byte { return append(dst, payload...) }

func (gap) Payload(wire []byte, _ Flags) []byte { return wire }
