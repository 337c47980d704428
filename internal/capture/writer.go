package capture

import (
	"fmt"
	"io"
)

// Writer writes records of one port in a format.
type Writer interface {
	// Write writes a record, whose bytes it does not keep. What the format has no place for is left out.
	Write(Record) error
	// Close writes what stands at the end of a file. It does not close what is written to.
	Close() error
}

// Source says whose traffic a file holds.
type Source struct {
	Port        string
	Device      string
	Application string // that writes the file, with its version
}

// NewWriter begins a file: without a record it is an empty one, and valid.
func NewWriter(out io.Writer, f Format, of Source) (Writer, error) {
	switch f {
	case Raw:
		return rawWriter{out}, nil
	case JSONL:
		return jsonWriter{out}, nil
	case CSV:
		return newCSVWriter(out)
	case PCAPNG:
		return newPcapngWriter(out, of)
	}
	return nil, fmt.Errorf("unknown format %q", f)
}

// rawWriter writes what was received, as it was on the line.
type rawWriter struct{ out io.Writer }

func (w rawWriter) Write(r Record) error {
	if r.Kind != Rx {
		return nil
	}
	_, err := w.out.Write(r.Wire)
	return err
}

func (rawWriter) Close() error { return nil }
