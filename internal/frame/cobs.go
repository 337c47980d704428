package frame

import "bytes"

// cobsFull is the code of a block without a zero behind it: 254 bytes.
const cobsFull = 0xFF

// cobsBytes is how long a packet with its delimiter can be: a code for every 254 bytes, one more of an encoder that pads.
func cobsBytes(payload int) int { return payload + payload/254 + 3 }

func newCobs(s Spec) *packets {
	return &packets{delimiter: 0, maxBytes: s.MaxBytes, wireBytes: cobsBytes(s.MaxBytes), decode: cobsDecode, encode: cobsEncode}
}

// cobsDecode takes a packet apart:
//
//	code (code-1) bytes  code (code-1) bytes …
//
// where a zero stands behind each block but the last and those with code 0xFF.
func cobsDecode(dst, packet []byte) (_ []byte, flags Flags, ok bool) {
	full := false // the block before
	for len(packet) > 0 {
		code := int(packet[0])
		if code > len(packet) {
			return dst, 0, false
		}
		dst = append(dst, packet[1:code]...)
		packet = packet[code:]
		if len(packet) == 0 && code == 1 && full {
			flags = Padded
		}
		full = code == cobsFull
		if !full && len(packet) > 0 {
			dst = append(dst, 0)
		}
	}
	return dst, flags, true
}

func cobsEncode(dst, payload []byte, flags Flags) []byte {
	for {
		n := bytes.IndexByte(payload, 0)
		last := n < 0
		if last {
			n = len(payload)
		}
		for ; n >= cobsFull-1; n -= cobsFull - 1 {
			dst = append(append(dst, cobsFull), payload[:cobsFull-1]...)
			payload = payload[cobsFull-1:]
			if last && n == cobsFull-1 { // the packet ends with a full block
				if flags&Padded != 0 {
					dst = append(dst, 1)
				}
				return dst
			}
		}
		dst = append(append(dst, byte(n+1)), payload[:n]...)
		if last {
			return dst
		}
		payload = payload[n+1:]
	}
}
