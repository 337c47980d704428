package frame

import "bytes"

// MaxSkip is how many delimiters at most are skipped in front of a packet: that many in a row are a frame of their own.
const MaxSkip = maxRun - 1

const maxRun = 4096

// packets is what Slip and Cobs have in common: encoded packets, with a delimiter behind each that is nowhere else.
//
//	[delimiter …] packet delimiter [delimiter …] packet delimiter …
//
// Delimiters in front of a packet, of which many devices send one to end noise on the line, are skipped. What cannot be
// decoded comes as it is: packets that are malformed, longer than maxBytes or not finished. Of one that is too long all
// pieces do, the last with its delimiter.
type packets struct {
	delimiter byte
	maxBytes  int // of a payload
	wireBytes int // of the longest packet with its delimiter
	decoded   []byte
	decode    func(dst, packet []byte) (payload []byte, flags Flags, ok bool)
	encode    func(dst, payload []byte, flags Flags) []byte
}

func (p *packets) Split(data []byte, at Position) Frame {
	if at.Continued {
		return p.piece(data, at)
	}
	skip := 0
	for skip < min(len(data), maxRun) && data[skip] == p.delimiter {
		skip++
	}
	packet := data[skip:]
	if skip == maxRun || len(packet) == 0 && at.End != More && skip > 0 {
		return whole(data, skip, Malformed)
	}
	from, to := min(max(0, at.Scanned-skip), len(packet)), min(len(packet), p.wireBytes)
	f := Frame{}
	if i := bytes.IndexByte(packet[min(from, to):to], p.delimiter); i >= 0 {
		f = p.packet(packet[:from+i+1])
	} else if len(packet) >= p.wireBytes {
		f = whole(packet, p.maxBytes, Continued)
	} else if at.End != More && len(packet) > 0 {
		f = rest(packet, p.maxBytes, Partial)
	}
	if f.Size > 0 {
		f.Skip = skip
	}
	return f
}

// packet decodes a packet that has its delimiter behind it.
func (p *packets) packet(raw []byte) Frame {
	payload, flags, ok := p.decode(p.decoded[:0], raw[:len(raw)-1])
	p.decoded = payload
	if !ok || len(payload) > p.maxBytes {
		return rest(raw, p.maxBytes, Malformed)
	}
	return Frame{Payload: payload[:len(payload):len(payload)], Size: len(raw), Flags: flags}
}

// piece goes on with a packet that was too long.
func (p *packets) piece(data []byte, at Position) Frame {
	to := min(len(data), p.maxBytes)
	from := min(at.Scanned, to)
	if i := bytes.IndexByte(data[from:to], p.delimiter); i >= 0 {
		return whole(data, from+i+1, Malformed)
	}
	switch {
	case len(data) >= p.maxBytes:
		return whole(data, p.maxBytes, Continued)
	case at.End == More || len(data) == 0:
		return Frame{}
	}
	return whole(data, len(data), Partial)
}

func (p *packets) Append(dst, payload []byte, flags Flags) []byte {
	if flags&(Partial|Continued|Malformed) != 0 {
		return append(dst, payload...)
	}
	return append(p.encode(dst, payload, flags), p.delimiter)
}

func (p *packets) Payload(wire []byte, flags Flags) []byte {
	if flags&(Partial|Continued|Malformed) != 0 {
		return wire
	}
	return p.packet(wire).Payload
}
