package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// A pcapng file (https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/draft-ietf-opsawg-pcapng.html) is a row of blocks:
//
//	| type 4 | length 4 | body, padded to 4 | length 4 |
//
// and options at the end of a body are
//
//	| code 2 | length 2 | value, padded to 4 | …
const (
	blockSection    = 0x0A0D0D0A // byte order magic 4, version 2 + 2, length of the section 8, options
	blockInterface  = 1          // link type 2, reserved 2, longest packet 4, options
	blockPacket     = 2          // obsolete
	blockSimple     = 3          // without time
	blockStatistics = 5          // interface 4, time 8, options
	blockEnhanced   = 6          // interface 4, time 8, length of data 4, of the packet 4, data, options

	byteOrderMagic = 0x1A2B3C4D
	versionMajor   = 1

	optionEnd         = 0
	optionComment     = 1
	optionApplication = 4 // of a section
	optionName        = 2 // of an interface, and the next three
	optionDescription = 3
	optionResolution  = 9
	optionOffset      = 14
	optionFlags       = 2 // of a packet

	directionMask = 3 // of a packet's flags
	inbound       = 1
	outbound      = 2

	// linkType is LINKTYPE_USER0, https://www.tcpdump.org/linktypes.html: those for serial ports are for certain protocols.
	linkType = 147
)

// pcapngBegin is the type of the first block.
var pcapngBegin = []byte{0x0a, 0x0d, 0x0d, 0x0a}

// maxPacket is the longest packet that Wireshark reads (WTAP_MAX_PACKET_SIZE_STANDARD). A longer frame is several.
const maxPacket = 256 << 10

// maxRemarks are how many remarks one packet gets.
const maxRemarks = 32

// pcapngWriter writes a packet for each frame that was on the line. What else happened is a comment of the next packet.
type pcapngWriter struct {
	out     io.Writer
	block   []byte
	remarks []string // for the next packet
	omitted int      // remarks before these
	last    time.Time
}

func newPcapngWriter(out io.Writer, of Source) (*pcapngWriter, error) {
	w := &pcapngWriter{out: out}
	w.begin(blockSection)
	w.put32(byteOrderMagic)
	w.put16(versionMajor)
	w.put16(0)
	w.put64(^uint64(0)) // the section's length is not known
	w.option(optionApplication, of.Application)
	w.put32(optionEnd)
	if err := w.end(); err != nil {
		return nil, err
	}
	w.begin(blockInterface)
	w.put16(linkType)
	w.put16(0)
	w.put32(0) // packets are as long as they are
	w.option(optionName, of.Port)
	w.option(optionDescription, of.Device)
	w.option(optionResolution, "\x09") // times are in 10⁻⁹ s
	w.put32(optionEnd)
	return w, w.end()
}

func (w *pcapngWriter) Write(r Record) error {
	w.last = r.Time
	at := r.Time.UTC().Format(time.RFC3339Nano)
	switch r.Kind {
	case State:
		s, err := r.PortState()
		if err != nil {
			return nil // whatever it was, it was not on the line
		}
		w.remark(strings.Join(strings.Fields(fmt.Sprintf("%s: the port is %s %s %s", at, s.State, s.Device, s.Error)), " "))
		return nil
	case Expired:
		w.remark(fmt.Sprintf("%s: a frame of %d bytes was not sent: %s", at, len(r.Payload), r.Reason))
		return nil
	case Rx, Sent:
	default:
		return nil
	}
	for rest := r.line(); ; {
		packet := rest[:min(len(rest), maxPacket)]
		rest = rest[len(packet):]
		if err := w.packet(r, packet, len(rest) > 0); err != nil || len(rest) == 0 {
			return err
		}
	}
}

// packet writes a frame or a part of one.
func (w *pcapngWriter) packet(r Record, data []byte, more bool) error {
	w.begin(blockEnhanced)
	w.put32(0)
	w.time(r.Time)
	w.put32(uint32(len(data)))
	w.put32(uint32(len(data)))
	w.block = append(w.block, data...)
	w.pad()
	direction := uint32(inbound)
	if r.Kind == Sent {
		direction = outbound
	}
	w.put16(optionFlags)
	w.put16(4)
	w.put32(direction)
	w.comments()
	if r.Flags != "" {
		w.option(optionComment, "flags: "+r.Flags)
	}
	if more {
		w.option(optionComment, "the frame goes on in the next packet")
	}
	w.put32(optionEnd)
	return w.end()
}

// Close writes remarks that no packet followed into a block of statistics, the only one left to have comments.
func (w *pcapngWriter) Close() error {
	if len(w.remarks) == 0 {
		return nil
	}
	w.begin(blockStatistics)
	w.put32(0)
	w.time(w.last)
	w.comments()
	w.put32(optionEnd)
	return w.end()
}

func (w *pcapngWriter) remark(text string) {
	if len(w.remarks) == maxRemarks {
		w.remarks = append(w.remarks[:0], w.remarks[1:]...)
		w.omitted++
	}
	w.remarks = append(w.remarks, text)
}

// comments writes the remarks, once.
func (w *pcapngWriter) comments() {
	if w.omitted > 0 {
		w.option(optionComment, fmt.Sprintf("before the following: %d changes of state or frames that were not sent", w.omitted))
	}
	for _, text := range w.remarks {
		w.option(optionComment, text)
	}
	w.remarks, w.omitted = w.remarks[:0], 0
}

// begin starts a block, whose length end fills in.
func (w *pcapngWriter) begin(kind uint32) {
	w.block = w.block[:0]
	w.put32(kind)
	w.put32(0)
}

func (w *pcapngWriter) end() error {
	length := uint32(len(w.block) + 4)
	w.put32(length)
	binary.LittleEndian.PutUint32(w.block[4:], length)
	_, err := w.out.Write(w.block)
	return err
}

func (w *pcapngWriter) put16(v uint16) { w.block = binary.LittleEndian.AppendUint16(w.block, v) }
func (w *pcapngWriter) put32(v uint32) { w.block = binary.LittleEndian.AppendUint32(w.block, v) }
func (w *pcapngWriter) put64(v uint64) { w.block = binary.LittleEndian.AppendUint64(w.block, v) }

// time writes a time: two halves, the upper one first. None before 1970 can be written.
func (w *pcapngWriter) time(t time.Time) {
	ns := uint64(max(0, t.UnixNano()))
	w.put32(uint32(ns >> 32))
	w.put32(uint32(ns))
}

// pad makes the block a multiple of four bytes long.
func (w *pcapngWriter) pad() {
	for len(w.block)%4 != 0 {
		w.block = append(w.block, 0)
	}
}

// maxOption is how long an option's text gets: names and sentences.
const maxOption = 4 << 10

// option writes an option, unless it is empty. Texts are UTF-8.
func (w *pcapngWriter) option(code uint16, value string) {
	if len(value) > maxOption {
		value = value[:maxOption]
	}
	if !utf8.ValidString(value) {
		value = strings.ToValidUTF8(value, "�")
	}
	if value == "" {
		return
	}
	w.put16(code)
	w.put16(uint16(len(value)))
	w.block = append(w.block, value...)
	w.pad()
}
