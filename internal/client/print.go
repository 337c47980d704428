package client

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/serialvisor/serialvisor/internal/capture"
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
	width  int  // of the longest port name
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

// Align has lines of a terminal stand below each other, whichever of these ports they are of.
func (p *Printer) Align(ports []string) {
	for _, port := range ports {
		p.width = max(p.width, len(port))
	}
}

// Print prints one record.
func (p *Printer) Print(r capture.Record) error {
	switch p.Format {
	case Raw:
		if r.Kind != capture.Rx {
			return nil
		}
		_, err := p.Out.Write(r.Wire)
		return err
	case JSON:
		return capture.WriteJSON(p.Out, r)
	}
	text := p.text(r)
	var err error
	if p.Colour {
		p.Align([]string{r.Port}) // it may be one that the history alone remembers
		arrow, colour := look(r)
		_, err = fmt.Fprintf(p.Out, "%s%s%s  %s%-*s %s%s  %s\n", dim, r.Time.Local().Format("15:04:05.000"), plain, colour, p.width, r.Port, arrow, plain, text)
	} else {
		_, err = fmt.Fprintf(p.Out, "%s %s %s %s\n", r.Time.Format(time.RFC3339Nano), r.Port, r.Kind, text)
	}
	return err
}

// look is the sign and colour of a kind of record on a terminal.
func look(r capture.Record) (arrow, colour string) {
	switch r.Kind {
	case capture.Rx:
		return "←", green
	case capture.Sent:
		return "→", cyan
	case capture.Expired:
		return "✗", red
	}
	return "●", yellow
}

// text is what a line says of a record.
func (p *Printer) text(r capture.Record) string {
	if r.Kind == capture.State {
		s, err := r.PortState()
		if err != nil {
			return capture.Escape(r.Payload)
		}
		return strings.TrimRight(fmt.Sprintf("%s %s %s", s.State, s.Device, s.Error), " ")
	}
	text := ""
	if p.Format == Hex {
		text = fmt.Sprintf("% x", r.Payload)
	} else {
		text = capture.Escape(r.Payload)
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
