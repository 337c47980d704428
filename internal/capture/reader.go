package capture

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Reader reads records from a file.
type Reader interface {
	// Next returns the next record, or io.EOF behind the last. Any other error says where the file is broken, and is final.
	// The record is the caller's.
	Next() (Record, error)
}

// ErrFormat says that a file is none that has received bytes and their times.
var ErrFormat = errors.New("this file has no times to replay by: those are in files that `supervisor export` writes with --format jsonl, csv or pcapng, not raw")

// ErrEmpty says that a file holds nothing at all.
var ErrEmpty = errors.New("the file is empty")

// errClassic is for a format that looks much like ours to its users.
var errClassic = errors.New("this is a pcap file, which does not say what was received and what was sent: use pcapng")

// classicMagic are the first bytes of a pcap file, with times in microseconds and nanoseconds.
var classicMagic = [][]byte{{0xd4, 0xc3, 0xb2, 0xa1}, {0xa1, 0xb2, 0xc3, 0xd4}, {0x4d, 0x3c, 0xb2, 0xa1}, {0xa1, 0xb2, 0x3c, 0x4d}}

// byteOrderMark is what some spreadsheets put in front of text.
var byteOrderMark = []byte("\xef\xbb\xbf")

// NewReader recognises a file's format by its first bytes. Errors: ErrFormat, ErrEmpty, or what is wrong with the
// beginning.
func NewReader(in io.Reader) (Reader, Format, error) {
	b := bufio.NewReaderSize(in, 64<<10)
	if head, _ := b.Peek(len(byteOrderMark)); bytes.Equal(head, byteOrderMark) {
		_, _ = b.Discard(len(byteOrderMark)) // they are in the buffer
	}
	head, err := b.Peek(len(csvBegin))
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	switch {
	case len(head) == 0:
		return nil, "", ErrEmpty
	case head[0] == '{':
		return &jsonReader{in: b}, JSONL, nil
	case string(head) == csvBegin:
		r, err := newCSVReader(b)
		return r, CSV, err
	case bytes.HasPrefix(head, pcapngBegin):
		return &pcapngReader{in: b}, PCAPNG, nil
	}
	for _, magic := range classicMagic {
		if bytes.HasPrefix(head, magic) {
			return nil, "", errClassic
		}
	}
	return nil, "", ErrFormat
}
