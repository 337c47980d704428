package client

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Format is how traffic is printed.
type Format int

// The formats.
const (
	Text Format = iota // a line for each frame, with control characters escaped
	Hex                // the same with bytes in hexadecimal
	JSON               // a JSON document on each line
	Raw                // nothing but the bytes received
)

// Printer prints records.
type Printer struct {
	Out    io.Writer
	Format Format
	Colour bool // for a terminal: local time, arrows, colour
	// Rebuilders undo the framing of each port, for Raw.
	Rebuilders map[string]*Rebuilder
	width      int // of the longest port name so far
}

// ANSI escape sequences, see console_codes(4).
const (
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	plain  = "\x1b[0m"
)

// Print prints one record.
func (p *Printer) Print(r Record) error {
	switch p.Format {
	case Raw:
		return p.raw(r)
	case JSON:
		return p.json(r)
	}
	text := p.text(r)
	var err error
	if p.Colour {
		p.width = max(p.width, len(r.Port))
		arrow, colour := look(r)
		_, err = fmt.Fprintf(p.Out, "%s%s%s  %s%-*s %s%s  %s\n", dim, r.Time.Local().Format("15:04:05.000"), plain, colour, p.width, r.Port, arrow, plain, text)
	} else {
		_, err = fmt.Fprintf(p.Out, "%s %s %s %s\n", r.Time.Format(time.RFC3339Nano), r.Port, r.Kind, text)
	}
	return err
}

// look is the sign and colour of a kind of record on a terminal.
func look(r Record) (arrow, colour string) {
	switch r.Kind {
	case "rx":
		return "←", green
	case "sent":
		return "→", cyan
	case "expired":
		return "✗", red
	}
	return "●", yellow
}

// text is what a line says of a record.
func (p *Printer) text(r Record) string {
	if r.Kind == "state" {
		s, err := r.state()
		if err != nil {
			return escape(r.Payload)
		}
		return strings.TrimRight(fmt.Sprintf("%s %s %s", s.State, s.Device, s.Error), " ")
	}
	text := ""
	if p.Format == Hex {
		text = fmt.Sprintf("% x", r.Payload)
	} else {
		text = escape(r.Payload)
	}
	if note := strings.TrimPrefix(r.Flags+" "+r.Reason, " "); note != "" {
		note = "[" + strings.TrimRight(note, " ") + "]"
		if p.Colour {
			note = yellow + note + plain
		}
		text += " " + note
	}
	return text
}

// escape makes bytes fit for a terminal: what does not print, and what is not UTF-8, becomes \r, \x00 and so on. A
// backslash is left alone.
func escape(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&out, `\x%02x`, b[0])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
		b = b[n:]
	}
	return out.String()
}

func (p *Printer) raw(r Record) error {
	b, known := p.Rebuilders[r.Port]
	if r.Kind != "rx" || !known {
		return nil
	}
	_, err := p.Out.Write(b.bytes(r))
	return err
}

// jsonRecord is a record as a JSON document. Data has every byte, in base64; Text is there where data is UTF-8.
type jsonRecord struct {
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
}

func (p *Printer) json(r Record) error {
	j := jsonRecord{Time: r.Time, Port: r.Port, Direction: r.Kind, ID: r.ID, Reason: r.Reason}
	if r.Flags != "" {
		j.Flags = strings.Split(r.Flags, ",")
	}
	switch {
	case r.Kind == "state" && json.Valid(r.Payload):
		j.State = r.Payload
	default:
		j.Data = r.Payload
		if utf8.Valid(r.Payload) {
			text := string(r.Payload)
			j.Text = &text
		}
	}
	if r.Kind == "rx" {
		j.Offset = &r.Offset
	}
	return json.NewEncoder(p.Out).Encode(j)
}
