package capture

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"
)

// maxBlock is the longest block that Wireshark reads (MAX_BLOCK_SIZE).
const maxBlock = 16 << 20

// pcapngReader reads packets with time and direction, whoever wrote the file. Of comments only flags are understood.
type pcapngReader struct {
	in         *bufio.Reader
	order      binary.ByteOrder // of the section; a file begins with one
	interfaces []pcapngInterface
	block      bytes.Buffer // the body, reused
	at         int64        // where in the file the next block begins
	packets    int          // so far
}

// pcapngInterface is what an interface's packets have in common.
type pcapngInterface struct {
	name    string
	ticks   uint64 // in a second
	offset  int64  // seconds to be added
	foreign bool   // of another link type
}

func (p *pcapngReader) Next() (Record, error) {
	for {
		kind, body, err := p.next()
		if err == io.EOF {
			return Record{}, err
		}
		var r Record
		found := false
		if err == nil {
			r, found, err = p.take(kind, body)
		}
		if err != nil {
			return Record{}, fmt.Errorf("byte %d, behind packet %d: %w", p.at, p.packets, err)
		}
		p.at += int64(len(body)) + 12
		if found {
			p.packets++
			return r, nil
		}
	}
}

// next reads a block. The body is valid until the next one.
func (p *pcapngReader) next() (kind uint32, body []byte, err error) {
	var head [12]byte
	if _, err := io.ReadFull(p.in, head[:8]); err == io.EOF {
		return 0, nil, io.EOF
	} else if err != nil {
		return 0, nil, cut(err)
	}
	p.block.Reset()
	if bytes.Equal(head[:4], pcapngBegin) { // the same in either byte order, which follows
		if _, err := io.ReadFull(p.in, head[8:]); err != nil {
			return 0, nil, cut(err)
		}
		if err := p.section(head[8:]); err != nil {
			return 0, nil, err
		}
		p.block.Write(head[8:])
	}
	kind = p.order.Uint32(head[:])
	length := p.order.Uint32(head[4:])
	if length%4 != 0 || length < 12+uint32(p.block.Len()) || length > maxBlock {
		return 0, nil, fmt.Errorf("a block cannot be %d bytes long", length)
	}
	// Copied, as what is said of a length is believed only when the bytes are there.
	if _, err := io.CopyN(&p.block, p.in, int64(length)-8-int64(p.block.Len())); err != nil {
		return 0, nil, cut(err)
	}
	body = p.block.Bytes()
	end := len(body) - 4
	if again := p.order.Uint32(body[end:]); again != length {
		return 0, nil, fmt.Errorf("a block is %d bytes long at its beginning and %d at its end", length, again)
	}
	return kind, body[:end], nil
}

// cut says what the end of the file means in the middle of a block.
func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the file ends in the middle of a block")
	}
	return err
}

// section begins one, with interfaces of its own.
func (p *pcapngReader) section(magic []byte) error {
	switch {
	case binary.LittleEndian.Uint32(magic) == byteOrderMagic:
		p.order = binary.LittleEndian
	case binary.BigEndian.Uint32(magic) == byteOrderMagic:
		p.order = binary.BigEndian
	default:
		return errors.New("a section has no byte order")
	}
	p.interfaces = nil
	return nil
}

// take looks at a block; found says that it is a packet.
func (p *pcapngReader) take(kind uint32, body []byte) (r Record, found bool, err error) {
	switch kind {
	case blockSection:
		if len(body) < 16 || p.order.Uint16(body[4:]) != versionMajor {
			return r, false, errors.New("a section is not of version 1")
		}
	case blockInterface:
		i, err := p.newInterface(body)
		p.interfaces = append(p.interfaces, i)
		return r, false, err
	case blockSimple, blockPacket:
		return r, false, errors.New("the next packet is of a kind that has no time or no direction; Wireshark can save the file anew")
	case blockEnhanced:
		r, err = p.packet(body)
		return r, err == nil, err
	}
	return r, false, nil // others may be skipped
}

func (p *pcapngReader) newInterface(body []byte) (pcapngInterface, error) {
	i := pcapngInterface{ticks: 1e6}
	if len(body) < 8 {
		return i, errors.New("the description of an interface is too short")
	}
	i.foreign = p.order.Uint16(body) != linkType
	return i, p.options(body[8:], func(code uint16, value []byte) error {
		switch {
		case code == optionName:
			i.name = string(value)
		case code == optionOffset && len(value) == 8:
			i.offset = int64(p.order.Uint64(value))
		case code == optionResolution && len(value) == 1:
			power := uint64(value[0] & 0x7f)
			switch {
			case value[0]&0x80 != 0 && power <= 63:
				i.ticks = 1 << power
			case value[0]&0x80 == 0 && power <= 19:
				i.ticks = 1
				for range power {
					i.ticks *= 10
				}
			default:
				return fmt.Errorf("an interface has times in units that are too small: if_tsresol %#x", value[0])
			}
		}
		return nil
	})
}

func (p *pcapngReader) packet(body []byte) (Record, error) {
	if len(body) < 20 {
		return Record{}, errors.New("the next packet is too short")
	}
	number := p.order.Uint32(body)
	if uint64(number) >= uint64(len(p.interfaces)) {
		return Record{}, fmt.Errorf("the next packet is of interface %d, which was not described", number)
	}
	i := p.interfaces[number]
	if i.foreign {
		return Record{}, fmt.Errorf("the next packet is not of a serial port: interface %s has another link type than USER0 (%d)", i.name, linkType)
	}
	ticks := uint64(p.order.Uint32(body[4:]))<<32 | uint64(p.order.Uint32(body[8:]))
	captured, original, rest := p.order.Uint32(body[12:]), p.order.Uint32(body[16:]), body[20:]
	padded := (uint64(captured) + 3) / 4 * 4
	switch {
	case padded > uint64(len(rest)):
		return Record{}, fmt.Errorf("the next packet has %d bytes, in a block that has no room for them", captured)
	case captured != original:
		return Record{}, fmt.Errorf("the next packet has only %d of its %d bytes", captured, original)
	}
	r := Record{Port: i.name, Time: i.time(ticks)}
	direction := uint32(0)
	err := p.options(rest[padded:], func(code uint16, value []byte) error {
		switch {
		case code == optionFlags && len(value) == 4:
			direction = p.order.Uint32(value) & directionMask
		case code == optionComment:
			if flags, ok := strings.CutPrefix(string(value), "flags: "); ok {
				r.Flags = flags
			}
		}
		return nil
	})
	if err != nil {
		return Record{}, err
	}
	switch direction {
	case inbound:
		r.Kind, r.Wire = Rx, bytes.Clone(rest[:captured])
	case outbound:
		r.Kind, r.Payload = Sent, bytes.Clone(rest[:captured])
	default:
		return Record{}, errors.New("the next packet does not say whether it was received or sent")
	}
	return r, nil
}

// options calls each option of a block.
func (p *pcapngReader) options(list []byte, each func(code uint16, value []byte) error) error {
	for len(list) > 0 {
		if len(list) < 4 {
			return errors.New("an option is too short")
		}
		code, length := p.order.Uint16(list), int(p.order.Uint16(list[2:]))
		if code == optionEnd {
			return nil
		}
		list = list[4:]
		padded := (length + 3) / 4 * 4
		if padded > len(list) {
			return errors.New("an option is longer than its block")
		}
		if err := each(code, list[:length]); err != nil {
			return err
		}
		list = list[padded:]
	}
	return nil
}

// time is what so many ticks since 1970 are.
func (i pcapngInterface) time(ticks uint64) time.Time {
	high, low := bits.Mul64(ticks%i.ticks, 1e9)
	ns, _ := bits.Div64(high, low, i.ticks)
	return time.Unix(int64(ticks/i.ticks)+i.offset, int64(ns)).UTC()
}
