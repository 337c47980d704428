package frame

import "bytes"

// The bytes of RFC 1055.
const (
	slipEnd    = 0xC0
	slipEsc    = 0xDB
	slipEscEnd = 0xDC // behind slipEsc: a slipEnd of the payload
	slipEscEsc = 0xDD // behind slipEsc: a slipEsc of the payload
)

// slipBytes is how long a packet with its delimiter can be.
func slipBytes(payload int) int { return 2*payload + 1 }

func newSlip(s Spec) *packets {
	return &packets{delimiter: slipEnd, maxBytes: s.MaxBytes, wireBytes: slipBytes(s.MaxBytes), decode: slipDecode, encode: slipEncode}
}

func slipDecode(dst, packet []byte) ([]byte, Flags, bool) {
	for {
		i := bytes.IndexByte(packet, slipEsc)
		if i < 0 {
			return append(dst, packet...), 0, true
		}
		if i+1 == len(packet) {
			return dst, 0, false
		}
		dst = append(dst, packet[:i]...)
		switch packet[i+1] {
		case slipEscEnd:
			dst = append(dst, slipEnd)
		case slipEscEsc:
			dst = append(dst, slipEsc)
		default:
			return dst, 0, false
		}
		packet = packet[i+2:]
	}
}

func slipEncode(dst, payload []byte, _ Flags) []byte {
	for _, b := range payload {
		switch b {
		case slipEnd:
			dst = append(dst, slipEsc, slipEscEnd)
		case slipEsc:
			dst = append(dst, slipEsc, slipEscEsc)
		default:
			dst = append(dst, b)
		}
	}
	return dst
}
