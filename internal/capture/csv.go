package capture

import (
	"bufio"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// columns of a CSV file. What was on the line is in hex, every byte of it; text is there to be read. The last column is
// one that may be empty, so that a row that was cut off lacks a column, or nothing.
var columns = []string{"time", "seconds", "direction", "offset", "flags", "bytes", "text", "hex", "note"}

// csvBegin is how such a file begins.
const csvBegin = "time,seconds,"

// csvTime is RFC 3339 with all digits, so that times sort as text.
const csvTime = "2006-01-02T15:04:05.000000000Z07:00"

type csvWriter struct {
	out   *csv.Writer
	first time.Time // of the first record
}

func newCSVWriter(out io.Writer) (*csvWriter, error) {
	w := &csvWriter{out: csv.NewWriter(out)}
	w.out.UseCRLF = true // RFC 4180, 2.1
	return w, w.out.Write(columns)
}

func (w *csvWriter) Write(r Record) error {
	if w.first.IsZero() {
		w.first = r.Time
	}
	wire := r.line()
	text, note, offset := Escape(r.Payload), "", ""
	switch r.Kind {
	case Rx:
		offset = strconv.FormatUint(r.Offset, 10)
	case Expired:
		note = r.Reason
	case State:
		if s, err := r.PortState(); err == nil {
			text, note = strings.TrimSpace(s.State+" "+s.Device), s.Error
		}
	}
	return w.out.Write([]string{
		r.Time.UTC().Format(csvTime), seconds(r.Time.Sub(w.first)), r.Kind, offset, r.Flags,
		strconv.Itoa(len(wire)), harmless(text), fmt.Sprintf("% x", wire), harmless(note),
	})
}

func (w *csvWriter) Close() error {
	w.out.Flush()
	return w.out.Error()
}

// seconds is a duration in seconds with all nine digits, which a float does not keep for long ones.
func seconds(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	return fmt.Sprintf("%s%d.%09d", sign, d/time.Second, d%time.Second)
}

// harmless keeps a spreadsheet from taking what a device says for a formula to be calculated, by an apostrophe in front:
// https://owasp.org/www-community/attacks/CSV_Injection. Numbers stay numbers.
func harmless(text string) string {
	if text == "" || !strings.ContainsRune("=+-@", rune(text[0])) {
		return text
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text
	}
	return "'" + text
}

// csvReader reads what csvWriter writes: payloads are not among it.
type csvReader struct{ in *csv.Reader }

func newCSVReader(in *bufio.Reader) (*csvReader, error) {
	r := &csvReader{csv.NewReader(in)}
	r.in.ReuseRecord = true
	header, err := r.in.Read()
	if err != nil {
		return nil, place(err)
	}
	if !slices.Equal(header, columns) {
		return nil, fmt.Errorf("line 1: the columns are %s, and not those of `supervisor export`: %s", strings.Join(header, ","), strings.Join(columns, ","))
	}
	return r, nil
}

func (c *csvReader) Next() (Record, error) {
	row, err := c.in.Read()
	if err != nil {
		return Record{}, place(err)
	}
	r, err := recordOf(row)
	if err != nil {
		line, _ := c.in.FieldPos(0)
		return Record{}, fmt.Errorf("line %d: %w", line, err)
	}
	return r, nil
}

// recordOf is what a row says.
func recordOf(row []string) (Record, error) {
	at, err := time.Parse(time.RFC3339Nano, row[0])
	if err != nil {
		return Record{}, fmt.Errorf("time %q is not like %s", row[0], csvTime)
	}
	wire, err := hex.DecodeString(strings.ReplaceAll(row[7], " ", ""))
	if err != nil {
		return Record{}, fmt.Errorf("hex: %w", err)
	}
	if row[5] != strconv.Itoa(len(wire)) {
		return Record{}, fmt.Errorf("bytes is %s, and hex has %d", row[5], len(wire))
	}
	r := Record{Time: at, Kind: row[2], Flags: row[4]}
	switch r.Kind {
	case Rx:
		r.Wire = wire
		if r.Offset, err = strconv.ParseUint(row[3], 10, 64); err != nil {
			return Record{}, fmt.Errorf("offset: %w", err)
		}
	case Sent:
		r.Payload = wire
	case State, Expired:
	default:
		return Record{}, fmt.Errorf("direction is %q, not rx, sent, state or expired", row[2])
	}
	return r, nil
}

// place says where a file is broken as the other formats do.
func place(err error) error {
	var bad *csv.ParseError
	if errors.As(err, &bad) {
		return fmt.Errorf("line %d: %w", bad.Line, bad.Err)
	}
	return err
}
