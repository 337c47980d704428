package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

// blocks builds files that our writer does not write, in either byte order.
type blocks struct {
	order binary.AppendByteOrder
	out   []byte
}

type option struct {
	code  uint16
	value []byte
}

// block appends one: a body of numbers and bytes, and options behind it.
func (b *blocks) block(kind uint32, body []any, options ...option) *blocks {
	var inner []byte
	pad := func() {
		for len(inner)%4 != 0 {
			inner = append(inner, 0)
		}
	}
	for _, part := range body {
		switch v := part.(type) {
		case uint16:
			inner = b.order.AppendUint16(inner, v)
		case uint32:
			inner = b.order.AppendUint32(inner, v)
		case uint64: // a time
			inner = b.order.AppendUint32(b.order.AppendUint32(inner, uint32(v>>32)), uint32(v))
		case string:
			inner = append(inner, v...)
			pad()
		}
	}
	for _, o := range options {
		inner = b.order.AppendUint16(b.order.AppendUint16(inner, o.code), uint16(len(o.value)))
		inner = append(inner, o.value...)
		pad()
	}
	length := uint32(len(inner) + 12)
	b.out = b.order.AppendUint32(b.order.AppendUint32(b.out, kind), length)
	b.out = b.order.AppendUint32(append(b.out, inner...), length)
	return b
}

func (b *blocks) bytes() []byte { return b.out }

func (b *blocks) section() *blocks {
	return b.block(blockSection, []any{uint32(byteOrderMagic), uint16(1), uint16(0), ^uint32(0), ^uint32(0)})
}

func (b *blocks) serial(options ...option) *blocks {
	return b.block(blockInterface, []any{uint16(linkType), uint16(0), uint32(0)}, options...)
}

func (b *blocks) received(number uint32, ticks uint64, data string, options ...option) *blocks {
	n := uint32(len(data))
	flags := option{optionFlags, b.order.AppendUint32(nil, inbound|0b1000)}
	return b.block(blockEnhanced, []any{number, ticks, n, n, data}, append(options, flags, option{})...)
}

func newFile(order binary.AppendByteOrder) *blocks { return (&blocks{order: order}).section() }

// foreign are files as other programs may write them, each with "hello" received at 2001-09-09T01:46:40.5Z.
func foreign() map[string]*blocks {
	little, big := binary.LittleEndian, binary.BigEndian
	resolution := func(r byte) option { return option{optionResolution, []byte{r}} }
	return map[string]*blocks{
		"little endian, microseconds": newFile(little).serial().received(0, 1e15+5e5, "hello"),
		"big endian":                  newFile(big).serial(resolution(9)).received(0, 1e18+5e8, "hello"),
		"10^-19":                      newFile(little).serial(resolution(19), option{optionOffset, little.AppendUint64(nil, 1e9)}).received(0, 5e18, "hello"),
		"seconds, with an offset":     newFile(big).serial(resolution(0x81), option{optionOffset, big.AppendUint64(nil, 1e9-7)}).received(0, 15, "hello"),
		"halves":                      newFile(little).serial(resolution(0x81)).received(0, 2e9+1, "hello"),
		"2^-32":                       newFile(little).serial(resolution(0xa0)).received(0, 1e9<<32|1<<31, "hello"),
		"second interface": newFile(little).block(blockInterface, []any{uint16(1), uint16(0), uint32(0)}).serial().
			received(1, 1e15+5e5, "hello"),
		"second section":   newFile(little).serial(resolution(0)).section().serial().received(0, 1e15+5e5, "hello"),
		"other order":      {order: big, out: append(newFile(little).serial().bytes(), newFile(big).serial().received(0, 1e15+5e5, "hello").bytes()...)},
		"unknown blocks":   newFile(little).block(0xbad, []any{"whatever"}).serial().block(4, nil).received(0, 1e15+5e5, "hello").block(blockStatistics, []any{uint32(0), uint64(0)}),
		"unknown options":  newFile(little).serial(option{2988, []byte("abc")}).received(0, 1e15+5e5, "hello", option{2989, []byte("x")}, option{optionComment, []byte("mine")}),
		"no end of option": newFile(little).serial().block(blockEnhanced, []any{uint32(0), uint64(1e15 + 5e5), uint32(5), uint32(5), "hello"}, option{optionFlags, []byte{1, 0, 0, 0}}),
	}
}

func TestForeignFiles(t *testing.T) {
	want := time.Date(2001, 9, 9, 1, 46, 40, 5e8, time.UTC)
	for name, b := range foreign() {
		t.Run(name, func(t *testing.T) {
			got, _, err := readAll(bytes.NewReader(b.bytes()))
			if err != nil || len(got) != 1 || got[0].Kind != Rx || string(got[0].Wire) != "hello" || !got[0].Time.Equal(want) {
				t.Errorf("read %s, %v; want hello at %v", show(got), err, want)
			}
		})
	}
}

func TestBrokenPcapng(t *testing.T) {
	little := binary.LittleEndian
	first := func() *blocks { return newFile(little).serial().received(0, 1e15, "whole") }
	head := len(newFile(little).serial().bytes())
	packet := len(first().bytes()) - head
	patched := func(at int, b byte) *blocks {
		f := first()
		f.out[at] = b
		return f
	}
	n := func(captured, original uint32, data string, options ...option) *blocks {
		return first().block(blockEnhanced, []any{uint32(0), uint64(1e15), captured, original, data}, options...)
	}
	whole := fmt.Sprintf("byte %d, behind packet 1: ", head+packet)
	for _, c := range []struct {
		want string
		file *blocks
	}{
		{whole + "the file ends in the middle of a block", &blocks{out: first().received(0, 1e15, "cut").bytes()[:head+packet+20]}},
		{whole + "the next packet has 9 bytes, in a block that has no room", n(9, 9, "small")},
		{whole + "the next packet has only 5 of its 50 bytes", n(5, 50, "small")},
		{whole + "the next packet does not say whether it was received or sent", n(5, 5, "small")},
		{whole + "the next packet does not say whether it was received or sent", n(5, 5, "small", option{optionFlags, []byte{3, 0, 0, 0}})},
		{whole + "an option is longer than its block", n(5, 5, "small", option{optionComment, []byte("ab")}).patchLast(10, 99)},
		{whole + "the next packet is of interface 7", first().received(7, 0, "x")},
		{whole + "the next packet is of a kind", first().block(blockSimple, []any{uint32(1), "x"})},
		{whole + "the next packet is too short", first().block(blockEnhanced, []any{uint32(0)})},
		{whole + "the description of an interface is too short", first().block(blockInterface, nil)},
		{whole + "an interface has times in units that are too small: if_tsresol 0x14", first().serial(option{optionResolution, []byte{20}})},
		{whole + "an interface has times in units that are too small: if_tsresol 0xc0", first().serial(option{optionResolution, []byte{0xc0}})},
		{"byte 0, behind packet 0: a section has no byte order", patched(8, 0xff)},
		{"byte 0, behind packet 0: a section is not of version 1", patched(12, 2)},
		{"behind packet 0: a block cannot be 57 bytes long", patched(head+4, 57)},
		{"behind packet 0: a block is 52 bytes long at its beginning and 57 at its end", patched(head+packet-4, 57)},
		{"the next packet is not of a serial port: interface eth0 has another link type", newFile(little).
			block(blockInterface, []any{uint16(1), uint16(0), uint32(0)}, option{optionName, []byte("eth0")}).received(0, 0, "x")},
	} {
		got, _, err := readAll(bytes.NewReader(c.file.bytes()))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d records and %v; want %s", len(got), err, c.want)
		}
		if strings.HasPrefix(c.want, whole) && (len(got) != 1 || string(got[0].Wire) != "whole") {
			t.Errorf("%s: what is whole gives %s", c.want, show(got))
		}
	}
}

// patchLast changes a byte, counted from the end.
func (b *blocks) patchLast(from int, v byte) *blocks {
	b.out[len(b.out)-from] = v
	return b
}
