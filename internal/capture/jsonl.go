package capture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// document is a record as a JSON document. Data has every byte of the payload, in base64; Text is there where data is
// UTF-8. Wire is there for what was received, in files: framing takes away what cannot be told from data alone.
type document struct {
	Time      time.Time       `json:"time"`
	Port      string          `json:"port"`
	Direction string          `json:"direction"`
	ID        string          `json:"id,omitempty"`
	Offset    *uint64         `json:"offset,omitempty"`
	Flags     []string        `json:"flags,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	State     json.RawMessage `json:"state,omitempty"`
	Data      []byte          `json:"data,omitempty"`
	Text      *string         `json:"text,omitempty"`
	Wire      []byte          `json:"wire,omitzero"`
}

// WriteJSON writes a record as a JSON document on a line.
func WriteJSON(out io.Writer, r Record) error {
	d := document{Time: r.Time, Port: r.Port, Direction: r.Kind, ID: r.ID, Reason: r.Reason, Wire: r.Wire}
	if r.Flags != "" {
		d.Flags = strings.Split(r.Flags, ",")
	}
	switch {
	case r.Kind == State && json.Valid(r.Payload):
		d.State = r.Payload
	default:
		d.Data = r.Payload
		if utf8.Valid(r.Payload) {
			text := string(r.Payload)
			d.Text = &text
		}
	}
	if r.Kind == Rx {
		d.Offset = &r.Offset
	}
	return json.NewEncoder(out).Encode(d)
}

type jsonWriter struct{ out io.Writer }

func (w jsonWriter) Write(r Record) error { return WriteJSON(w.out, r) }
func (jsonWriter) Close() error           { return nil }

// maxLine is far more than the longest frame takes, every byte of it escaped.
const maxLine = 128 << 20

// jsonReader reads what jsonWriter writes.
type jsonReader struct {
	in   *bufio.Reader
	line int
}

func (j *jsonReader) Next() (Record, error) {
	text, err := readLine(j.in)
	if err == io.EOF {
		return Record{}, err
	}
	j.line++
	if err != nil && err != io.ErrUnexpectedEOF {
		return Record{}, fmt.Errorf("line %d: %w", j.line, err)
	}
	var d document
	if bad := json.Unmarshal(text, &d); bad != nil {
		if err == io.ErrUnexpectedEOF {
			bad = errors.New("the file ends in the middle of a document")
		}
		return Record{}, fmt.Errorf("line %d: %w", j.line, bad)
	}
	switch {
	case d.Time.IsZero() || d.Direction == "":
		return Record{}, fmt.Errorf("line %d: this is no document of `supervisor export`: it has no time or no direction", j.line)
	case d.Direction == Rx && d.Wire == nil:
		return Record{}, fmt.Errorf("line %d: the document does not have the bytes as they were on the line (wire): "+
			"write the file with `supervisor export --format jsonl`, not with `supervisor tap --json`", j.line)
	}
	r := Record{Time: d.Time, Port: d.Port, Kind: d.Direction, ID: d.ID, Flags: strings.Join(d.Flags, ","), Reason: d.Reason, Payload: d.Data, Wire: d.Wire}
	if d.State != nil {
		r.Payload = d.State
	}
	if d.Offset != nil {
		r.Offset = *d.Offset
	}
	return r, nil
}

// readLine reads to the end of a line: io.EOF if there is none, io.ErrUnexpectedEOF with the text if its end is missing.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == io.EOF && len(line) > 0:
			return line, io.ErrUnexpectedEOF
		case err != bufio.ErrBufferFull:
			return line, err
		case len(line) > maxLine:
			return nil, fmt.Errorf("it is longer than %d bytes", maxLine)
		}
	}
}
