package frame

import (
	"strings"
	"testing"
	"time"
)

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		flags Flags
		text  string
	}{
		{0, ""},
		{Partial, "partial"},
		{Continued, "continued"},
		{Gap, "gap"},
		{Partial | Gap, "partial,gap"},
		{Partial | Continued | Gap | Malformed | Padded, "partial,continued,gap,malformed,padded"},
	} {
		if got := c.flags.String(); got != c.text {
			t.Errorf("Flags(%d) is %q, want %q", c.flags, got, c.text)
		}
	}
	for f := Flags(0); f <= Partial|Continued|Gap|Malformed|Padded; f++ {
		if got, err := ParseFlags(f.String()); got != f || err != nil {
			t.Errorf("ParseFlags(%q) is %d, %v; want %d", f, got, err, f)
		}
	}
	for _, text := range []string{"Partial", "lost", "partial,", ",gap", "partial;gap", " "} {
		if got, err := ParseFlags(text); err == nil {
			t.Errorf("ParseFlags(%q) is %q, want an error", text, got)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Spec)
		bad  string // part of the error; empty: there is none
	}{
		{"default", func(*Spec) {}, ""},
		{"raw", func(s *Spec) { *s = Spec{Type: Raw, MaxBytes: 1} }, ""},
		{"longest delimiter", func(s *Spec) { s.Delimiter = make([]byte, MaxDelimiterBytes) }, ""},
		{"longest frame", func(s *Spec) { s.MaxBytes = MaxFrameBytes }, ""},
		{"idle flush", func(s *Spec) { s.IdleFlush = time.Millisecond }, ""},
		{"no type", func(s *Spec) { s.Type = "" }, "unknown type"},
		{"unknown type", func(s *Spec) { s.Type = "xmodem" }, `"xmodem"`},
		{"no delimiter", func(s *Spec) { s.Delimiter = nil }, "delimiter"},
		{"long delimiter", func(s *Spec) { s.Delimiter = make([]byte, MaxDelimiterBytes+1) }, "not 17"},
		{"raw delimiter", func(s *Spec) { s.Type = Raw }, "no delimiter"},
		{"no bytes", func(s *Spec) { s.MaxBytes = 0 }, "max_bytes"},
		{"too many bytes", func(s *Spec) { s.MaxBytes = MaxFrameBytes + 1 }, "max_bytes"},
		{"fixed", func(s *Spec) { *s = Spec{Type: Fixed, MaxBytes: 1, Bytes: 16} }, ""},
		{"fixed without bytes", func(s *Spec) { *s = Spec{Type: Fixed, MaxBytes: 1} }, "bytes is 1 to"},
		{"gap", func(s *Spec) { *s = Spec{Type: GapType, MaxBytes: 1, Gap: 1} }, ""},
		{"no gap", func(s *Spec) { *s = Spec{Type: GapType, MaxBytes: 1} }, "gap is a duration above 0"},
		{"slip", func(s *Spec) { *s = Spec{Type: Slip, MaxBytes: 1} }, ""},
		{"slip with delimiter", func(s *Spec) { s.Type = Slip }, "slip framing has no delimiter"},
		{"length", func(s *Spec) { *s = Spec{Type: Length, MaxBytes: 9, Size: 4, Offset: 5, ByteOrder: BigEndian} }, ""},
		{"length behind the end", func(s *Spec) { *s = Spec{Type: Length, MaxBytes: 9, Size: 4, Offset: 6, ByteOrder: BigEndian} }, "byte 10, beyond max_bytes: 9"},
		{"length of 3 bytes", func(s *Spec) { *s = Spec{Type: Length, MaxBytes: 9, Size: 3, ByteOrder: BigEndian} }, "size is 1, 2 or 4, not 3"},
		{"no byte order", func(s *Spec) { *s = Spec{Type: Length, MaxBytes: 9, Size: 2} }, `byte_order is big or little, not ""`},
		{"too much extra", func(s *Spec) {
			*s = Spec{Type: Length, MaxBytes: 9, Size: 2, ByteOrder: BigEndian, Extra: MaxFrameBytes + 1}
		}, "extra is"},
		{"negative idle flush", func(s *Spec) { s.IdleFlush = -1 }, "idle_flush"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Default()
			c.edit(&s)
			err := s.Validate()
			if (c.bad == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.bad) {
				t.Errorf("Validate: %v, want %q", err, c.bad)
			}
			if _, newErr := New(s); (newErr == nil) != (err == nil) {
				t.Errorf("New: %v, but Validate: %v", newErr, err)
			}
		})
	}
}

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		delimiter, payload string
		flags              Flags
		want               string
	}{
		{"\n", "", 0, "\n"},
		{"\n", "ab", 0, "ab\n"},
		{"\n", "ab\n", 0, "ab\n"},
		{"\n", "ab\r", 0, "ab\r\n"},
		{"\n", "ab", Gap, "ab\n"},
		{"\n", "ab", Partial, "ab"},
		{"\n", "ab", Continued | Gap, "ab"},
		{"\r\n", "ab\n", 0, "ab\n\r\n"},
		{"\r\n", "ab\r", 0, "ab\r\r\n"},
		{"\r\n", "ab\r\n", 0, "ab\r\n"},
	} {
		codec := lineCodec(t, c.delimiter, 8)
		// What dst holds stays, even where together with payload it looks like a delimiter.
		if got := codec.Append([]byte("x\r"), []byte(c.payload), c.flags); string(got) != "x\r"+c.want {
			t.Errorf("%q: Append(%q, %q) is %q, want %q", c.delimiter, c.payload, c.flags, got, "x\r"+c.want)
		}
	}
	codec, err := New(Spec{Type: Raw, MaxBytes: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got := codec.Append([]byte("x"), []byte("abc\n"), 0); string(got) != "xabc\n" {
		t.Errorf("raw: Append is %q", got)
	}
}

// New must not keep the caller's delimiter: a config that is read again changes it.
func TestDelimiterIsCopied(t *testing.T) {
	delimiter := []byte("\r\n")
	codec, err := New(Spec{Type: Line, Delimiter: delimiter, MaxBytes: 8})
	if err != nil {
		t.Fatal(err)
	}
	delimiter[0] = 'x'
	if got := codec.Append(nil, []byte("a"), 0); string(got) != "a\r\n" {
		t.Errorf("it has become %q", got)
	}
}

func lineCodec(t testing.TB, delimiter string, maxBytes int) Codec {
	t.Helper()
	codec, err := New(Spec{Type: Line, Delimiter: []byte(delimiter), MaxBytes: maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	return codec
}
