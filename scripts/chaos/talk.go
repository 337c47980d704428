package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strconv"
)

// talk is one direction of one port: the frames that a device says, or that are queued for it. Each is made from its number
// alone, so that whoever gets one can tell to the byte whether it is right. On the line they are
//
//	text    <port.r 1523 48 1a2b3c4d letters>\n     number, count and CRC-32 of the letters, which are 1 to 100,000
//	binary  | count of the rest, 2 bytes big-endian | direction | port | number | CRC-32 | filling |
//
// A text frame has its only < in front; a binary one its only byte below 0x80, as the count's low byte and all that follows
// it have the upper bit set, numbers 7 bits in each byte. So a frame's beginning is known wherever reading begins, also for
// the framing by length, which looks for the next possible count: one that is not above max_bytes.
type talk struct {
	port   string
	place  int  // of the port among all
	toward byte // 'r' from the device, 't' to it
	binary bool
	seed   uint64
}

// Bounds of the filling. A text frame from the device can be longer than a piece of line framing.
const (
	mostText   = 100_000
	mostSent   = 60_000
	mostBinary = 7_900
)

var letters, sevens = filling("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"), filling("")

// filling is a stock from which frames are filled, of some letters or of bytes with the upper bit set.
func filling(of string) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	stock := make([]byte, 2*mostText)
	for i := range stock {
		if of == "" {
			stock[i] = 0x80 | byte(random.Uint32())
		} else {
			stock[i] = of[random.IntN(len(of))]
		}
	}
	return stock
}

// length says how much filling frame n has, and where in the stock it begins. Most frames are short.
func (t talk) length(n int) (size, from int) {
	random := rand.New(rand.NewPCG(t.seed^uint64(t.toward)<<32^uint64(t.place), uint64(n)))
	from = random.IntN(mostText)
	switch p := random.IntN(1000); {
	case p < 600:
		size = 1 + random.IntN(80)
	case p < 900:
		size = 1 + random.IntN(1000)
	case p < 997:
		size = 1 + random.IntN(6000)
	case t.binary:
		size = mostBinary
	case t.toward == 't':
		size = 10_000 + random.IntN(mostSent-10_000)
	default:
		size = 60_000 + random.IntN(mostText-60_000)
	}
	return size, from
}

// wire is frame n as it is on the line.
func (t talk) wire(n int) []byte {
	size, from := t.length(n)
	if !t.binary {
		fill := letters[from : from+size]
		b := fmt.Appendf(nil, "<%s.%c %d %d %08x ", t.port, t.toward, n, size, crc32.ChecksumIEEE(fill))
		return append(append(b, fill...), ">\n"...)
	}
	fill := sevens[from : from+size]
	b := []byte{0, 0, 0x80 | t.toward, 0x80 | byte(t.place)}
	b = appendSevens(b, uint32(n))
	b = append(appendSevens(b, crc32.ChecksumIEEE(fill)), fill...)
	for (len(b)-2)&0x80 == 0 { // the count's low byte must have the upper bit
		b = append(b, 0xff)
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return b
}

func appendSevens(b []byte, v uint32) []byte {
	for shift := 28; shift >= 0; shift -= 7 {
		b = append(b, 0x80|byte(v>>shift))
	}
	return b
}

// start is where the first frame in b begins, or -1.
func (t talk) start(b []byte) int {
	if t.binary {
		return slices.IndexFunc(b, func(c byte) bool { return c < 0x80 })
	}
	return bytes.IndexByte(b, '<')
}

// number reads the number of the frame that b begins with. It is not known yet if too little is there, or there is no
// such frame.
func (t talk) number(b []byte) (n int, ok bool) {
	if t.binary {
		if len(b) < 9 || b[2] != 0x80|t.toward || b[3] != 0x80|byte(t.place) {
			return 0, false
		}
		for _, c := range b[4:9] {
			n = n<<7 | int(c&0x7f)
		}
		return n, true
	}
	rest, ok := bytes.CutPrefix(b, fmt.Appendf(nil, "<%s.%c ", t.port, t.toward))
	text, _, found := bytes.Cut(rest[:min(len(rest), 12)], []byte(" "))
	if !ok || !found {
		return 0, false
	}
	n, err := strconv.Atoi(string(text))
	return n, err == nil
}

// payload is frame n as clients have it.
func (t talk) payload(n int) []byte {
	if t.binary {
		return t.wire(n)
	}
	return bytes.TrimSuffix(t.wire(n), []byte("\n"))
}

// short says whether frame n is a short one, which comes in one piece at once.
func (t talk) short(n int) bool {
	size, _ := t.length(n)
	return size <= 80
}
