package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

var source = Source{Port: "gps", Device: "/dev/ttyUSB0", Application: "serialvisor test"}

// traffic has something of everything: control characters, what is not UTF-8, flags, formulas, delimiters in front.
func traffic() []Record {
	start := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	return []Record{
		{Time: start, Port: "gps", Kind: State, Payload: []byte(`{"port":"gps","state":"open","time":"2026-01-02T03:04:05.678901234Z","device":"/dev/ttyUSB0","error":""}`)},
		{Time: at(1), Port: "gps", Kind: Rx, ID: "gps.s1.0", Payload: []byte("$GPGGA,1"), Wire: []byte("$GPGGA,1\r\n")},
		{Time: at(1), Port: "gps", Kind: Rx, ID: "gps.s1.10", Offset: 10, Flags: "partial,gap", Payload: []byte(`+SUM(1,"2")`), Wire: []byte(`+SUM(1,"2")`)},
		{Time: at(2), Port: "gps", Kind: Sent, ID: "gps.sent.SERIAL_QUEUE.1", Payload: []byte("AT\r\n")},
		{Time: at(60000), Port: "gps", Kind: Rx, ID: "gps.s1.21", Offset: 21, Payload: binary, Wire: append([]byte("\xc0\xc0"), append(binary, '\r', '\n')...)},
		{Time: at(60000), Port: "gps", Kind: Rx, ID: "gps.s1.281", Offset: 281, Payload: []byte{}, Wire: []byte("\r\n")},
		{Time: at(59999), Port: "gps", Kind: Rx, ID: "gps.s1.283", Offset: 283, Payload: []byte("-12.5"), Wire: []byte("-12.5\r\n")},
		{Time: at(60001), Port: "gps", Kind: Expired, ID: "gps.sent.SERIAL_QUEUE.2", Payload: []byte("too late"), Reason: "max_age"},
		{Time: at(60002), Port: "gps", Kind: Sent, Payload: []byte{0}},
		{Time: at(90000), Port: "gps", Kind: State, Payload: []byte(`{"port":"gps","state":"missing","time":"2026-01-02T03:05:35.678901234Z","device":"/dev/ttyUSB0","error":"=hung up"}`)},
	}
}

// file is what a writer makes of records.
func file(t testing.TB, f Format, records []Record) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, f, source)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readAll reads to the end, or to where the file is broken.
func readAll(in io.Reader) ([]Record, Format, error) {
	r, f, err := NewReader(in)
	if err != nil {
		return nil, f, err
	}
	var all []Record
	for {
		next, err := r.Next()
		if err == io.EOF {
			return all, f, nil
		}
		if err != nil {
			return all, f, err
		}
		all = append(all, next)
	}
}

// kept is what a format keeps of records.
func kept(f Format, records []Record) []Record {
	var all []Record
	for _, r := range records {
		switch f {
		case CSV:
			r.Port, r.ID, r.Reason = "", "", ""
			if r.Kind != Sent {
				r.Payload = nil
			}
		case PCAPNG:
			if r.Kind == State || r.Kind == Expired {
				continue
			}
			r.ID, r.Offset = "", 0
			if r.Kind == Rx {
				r.Payload = nil
			}
		}
		all = append(all, r)
	}
	return all
}

// show is all that records say; nil and empty bytes are the same.
func show(records []Record) string {
	var out strings.Builder
	for _, r := range records {
		fmt.Fprintf(&out, "%s %q %s %q %d %q %q %q %q\n", r.Time.UTC().Format(time.RFC3339Nano), r.Port, r.Kind, r.ID, r.Offset, r.Flags, r.Reason, r.Payload, r.Wire)
	}
	return out.String()
}

func TestRoundTrip(t *testing.T) {
	for _, f := range []Format{JSONL, CSV, PCAPNG} {
		written := file(t, f, traffic())
		for how, in := range map[string]io.Reader{
			"at once":         bytes.NewReader(written),
			"byte by byte":    iotest.OneByteReader(bytes.NewReader(written)),
			"data with error": iotest.DataErrReader(bytes.NewReader(written)),
		} {
			t.Run(fmt.Sprintf("%s %s", f, how), func(t *testing.T) {
				got, recognised, err := readAll(in)
				if err != nil || recognised != f {
					t.Fatalf("read %d records of format %s: %v", len(got), recognised, err)
				}
				if want := kept(f, traffic()); show(got) != show(want) {
					t.Errorf("read\n%swant\n%s", show(got), show(want))
				}
			})
		}
	}
}

// Nothing in, nothing out, and still a file of its format.
func TestEmpty(t *testing.T) {
	for f, want := range map[Format]error{CSV: nil, PCAPNG: nil, JSONL: ErrEmpty, Raw: ErrEmpty} {
		got, _, err := readAll(bytes.NewReader(file(t, f, nil)))
		if len(got) > 0 || !errors.Is(err, want) {
			t.Errorf("an empty %s file gives %d records, %v; want %v", f, len(got), err, want)
		}
	}
}

// Cut off anywhere, a file gives the records that are whole, and an error unless it ends behind one of them.
func TestCutOff(t *testing.T) {
	for _, f := range []Format{JSONL, CSV, PCAPNG} {
		written, all := file(t, f, traffic()), kept(f, traffic())
		ends := whole(t, f)
		for n := range written {
			got, _, err := readAll(bytes.NewReader(written[:n]))
			if len(got) > len(all) || show(got) != show(all[:len(got)]) {
				t.Fatalf("%s, of which %d bytes are left, gives\n%s", f, n, show(got))
			}
			if (err == nil) != ends[n] {
				t.Errorf("%s, of which %d bytes are left: %v; whole: %t", f, n, err, ends[n])
			}
		}
	}
}

// whole are the lengths at which nothing but a line end, or the last column of a row, is missing from a file.
func whole(t *testing.T, f Format) map[int]bool {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, f, source)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[int]bool{}
	mark := func(missing int) {
		if c, ok := w.(*csvWriter); ok {
			c.out.Flush()
		}
		for n := out.Len() - missing; n <= out.Len(); n++ {
			ends[n] = true
		}
	}
	switch f {
	case CSV:
		mark(len("\r\n"))
	case PCAPNG:
		mark(0)
		ends[int(binary.LittleEndian.Uint32(out.Bytes()[4:]))] = true // behind the section's header
	}
	for _, r := range traffic() {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
		switch f {
		case JSONL:
			mark(len("\n"))
		case CSV:
			row := out.Bytes()
			w.(*csvWriter).out.Flush()
			row = bytes.TrimRight(out.Bytes()[len(row):], "\r\n")
			mark(len(row) - bytes.LastIndexByte(row, ',') - 1 + len("\r\n"))
		case PCAPNG:
			mark(0)
		}
	}
	return ends
}

func TestRaw(t *testing.T) {
	var want []byte
	for _, r := range traffic() {
		if r.Kind == Rx {
			want = append(want, r.Wire...)
		}
	}
	got := file(t, Raw, traffic())
	if !bytes.Equal(got, want) {
		t.Errorf("raw is\n%q, want\n%q", got, want)
	}
	if _, _, err := NewReader(bytes.NewReader(got)); !errors.Is(err, ErrFormat) {
		t.Errorf("read as a recording: %v", err)
	}
}

func TestGolden(t *testing.T) {
	for _, f := range Formats {
		golden := filepath.Join("testdata", "traffic."+string(f)+".golden")
		got := file(t, f, traffic())
		if *update {
			if err := os.WriteFile(golden, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not as in %s; if that is meant, run go test -update and look at the difference:\n%q", f, golden, got)
		}
	}
}

func TestMistakes(t *testing.T) {
	header := strings.Join(columns, ",") + "\r\n"
	for _, c := range []struct{ in, want string }{
		{"", "the file is empty"},
		{"$GPGGA,1\r\n", "has no times to replay by"},
		{"\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "this is a pcap file"},
		{"{\"temperature\":21}\n", "line 1: this is no document of `supervisor export`"},
		{"{\n", "line 1: unexpected end of JSON input"},
		{`{"time":"2026-01-02T03:04:05Z","port":"gps","direction":"rx","offset":0,"data":"eA=="}` + "\n", "line 1: the document does not have the bytes as they were on the line (wire)"},
		{`{"time":"2026-01-02T03:04:05Z","direction":"sent"}` + "\n" + `{"time":"yesterday"`, "line 2: the file ends in the middle of a document"},
		{"time,seconds,x\n", "line 1: the columns are time,seconds,x, and not those of"},
		{header + "yesterday,0,rx,0,,1,x,78,\n", `line 2: time "yesterday" is not like 2006-`},
		{header + "2026-01-02T03:04:05Z,0,rx,0,,2,x,78,\n", "line 2: bytes is 2, and hex has 1"},
		{header + "2026-01-02T03:04:05Z,0,rx,0,,1,x,7,\n", "line 2: hex: encoding/hex: odd length"},
		{header + "2026-01-02T03:04:05Z,0,rx,,,1,x,78,\n", "line 2: offset: "},
		{header + "2026-01-02T03:04:05Z,0,up,0,,1,x,78,\n", `line 2: direction is "up"`},
		{header + "2026-01-02T03:04:05Z,0,rx\n", "line 2: wrong number of fields"},
	} {
		got, _, err := readAll(strings.NewReader(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives %d records and %v; want %s", c.in, len(got), err, c.want)
		}
	}
}

// What a spreadsheet has saved may have a byte order mark, and other line ends.
func TestCSVOfASpreadsheet(t *testing.T) {
	saved := append([]byte(byteOrderMark), bytes.ReplaceAll(file(t, CSV, traffic()), []byte("\r\n"), []byte("\n"))...)
	got, f, err := readAll(bytes.NewReader(saved))
	if err != nil || f != CSV || show(got) != show(kept(CSV, traffic())) {
		t.Errorf("read %d records of format %s: %v", len(got), f, err)
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "$GPGGA": "$GPGGA", "=1+1": "'=1+1", "+CREG: 1": "'+CREG: 1", "@x": "'@x", "-x": "'-x", "-12.5": "-12.5", "+3": "+3",
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "0.000000000", 1: "0.000000001", -1: "-0.000000001", -1500 * time.Millisecond: "-1.500000000", 240*time.Hour + 1: "864000.000000001",
	} {
		if got := seconds(in); got != want {
			t.Errorf("%v is %s s, want %s", in, got, want)
		}
	}
}

func TestWriterErrors(t *testing.T) {
	if _, err := NewWriter(io.Discard, "xml", source); err == nil {
		t.Error("there is a format xml")
	}
	full := errors.New("no space left on device")
	for _, f := range Formats {
		w, err := NewWriter(failing{full}, f, source)
		for _, r := range traffic() {
			if err == nil {
				err = w.Write(r)
			}
		}
		if err == nil {
			err = w.Close()
		}
		if !errors.Is(err, full) {
			t.Errorf("%s: %v, want %v", f, err, full)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzReader reads anything. What it has read, written and read again must be the same.
func FuzzReader(f *testing.F) {
	for _, format := range []Format{JSONL, CSV, PCAPNG} {
		whole := file(f, format, traffic())
		f.Add(whole)
		f.Add(whole[:len(whole)/2])
	}
	for _, written := range foreign() {
		f.Add(written.bytes())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, format, _ := readAll(bytes.NewReader(in))
		if len(got) == 0 {
			return
		}
		for _, r := range got {
			if y := r.Time.Year(); y < 1970 || y > 2200 {
				return // JSON and pcapng have no such times
			}
			if format == JSONL && (r.Kind == State || strings.Contains(r.Flags, ",")) {
				return // written without spaces, and as several flags
			}
			if format == PCAPNG && (len(r.line()) > maxPacket || len(r.Flags) > maxOption) {
				return // written as several packets, cut short
			}
		}
		again, _, err := readAll(bytes.NewReader(file(t, format, got)))
		if err != nil {
			t.Fatalf("written again, %s cannot be read: %v", format, err)
		}
		for i := range got {
			if i >= len(again) || got[i].Kind != again[i].Kind || !got[i].Time.Equal(again[i].Time) || !bytes.Equal(got[i].line(), again[i].line()) {
				t.Fatalf("written again, %s gives\n%snot\n%s", format, show(again), show(got))
			}
		}
	})
}
