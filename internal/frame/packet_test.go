package frame

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// rows are streams and their frames, the same at every chunk size.
type rows []struct {
	name string
	spec Spec
	data string
	want string // the frames as String has them, joined with |
}

func (rows rows) run(t *testing.T) {
	for _, c := range rows {
		t.Run(c.name, func(t *testing.T) {
			for n := 1; n <= max(1, len(c.data)); n++ {
				s := newStream(t, c.spec)
				for chunk := range slices.Chunk([]byte(c.data), n) {
					s.feed(t, chunk, More)
				}
				s.feed(t, nil, Closed)
				var texts []string
				for _, f := range s.frames {
					texts = append(texts, f.String())
				}
				if text := strings.Join(texts, "|"); text != c.want {
					t.Errorf("in chunks of %d:\n got %s\nwant %s", n, text, c.want)
				}
				if string(s.rebuilt) != c.data {
					t.Errorf("in chunks of %d: put together the frames are %q", n, s.rebuilt)
				}
			}
		})
	}
}

func TestSlip(t *testing.T) {
	spec := Spec{Type: Slip, MaxBytes: 4}
	rows{
		{"nothing", spec, "", ``},
		{"a packet", spec, "ab\xc0", `"ab"/3 `},
		{"delimiters on both sides", spec, "\xc0ab\xc0\xc0cd\xc0", `"ab"/3 |"cd"/3 `},
		{"empty packets", spec, "\xc0\xc0\xc0ab\xc0\xc0", `"ab"/3 |"\xc0"/1 malformed`},
		{"escapes", spec, "\xdb\xdc\xdb\xdd\xc0", `"\xc0\xdb"/5 `},
		{"the longest packet", spec, "\xdb\xdc\xdb\xdc\xdb\xdd\xdb\xdd\xc0", `"\xc0\xc0\xdb\xdb"/9 `},
		{"wrong escape", spec, "a\xdbb\xc0cd\xc0", `"a\xdbb\xc0"/4 malformed|"cd"/3 `},
		{"escape at the end", spec, "a\xdb\xc0cd\xc0", `"a\xdb\xc0"/3 malformed|"cd"/3 `},
		{"not finished", spec, "ab\xc0cd\xdb", `"ab"/3 |"cd\xdb"/3 partial`},
		{"one byte too long", spec, "abcde\xc0f\xc0", `"abcd"/4 continued|"e\xc0"/2 malformed|"f"/2 `},
		{"far too long", spec, "abcdefghijklm\xc0f\xc0", `"abcd"/4 continued|"efgh"/4 continued|"ijkl"/4 continued|"m\xc0"/2 malformed|"f"/2 `},
		{"too long by nothing but its delimiter", spec, "abcdefgh\xc0i\xc0", `"abcd"/4 continued|"efgh"/4 continued|"\xc0"/1 malformed|"i"/2 `},
		{"too long and not finished", spec, "abcdefghij", `"abcd"/4 continued|"efgh"/4 continued|"ij"/2 partial`},
		{"malformed and long", spec, "abc\xdbdef\xc0i\xc0", `"abc\xdb"/4 continued|"def\xc0"/4 malformed|"i"/2 `},
	}.run(t)
}

func TestCobs(t *testing.T) {
	spec := Spec{Type: Cobs, MaxBytes: 4}
	long := Spec{Type: Cobs, MaxBytes: 1000}
	x254 := strings.Repeat("x", 254)
	rows{
		{"nothing", spec, "", ``},
		{"a packet", spec, "\x03ab\x00", `"ab"/4 `},
		{"a packet of nothing", spec, "\x01\x00\x01\x00", `""/2 |""/2 `},
		{"zeros", spec, "\x01\x01\x01\x00", `"\x00\x00"/4 `},
		{"zeros in between", spec, "\x02a\x02b\x01\x00", `"a\x00b\x00"/6 `},
		{"delimiters on both sides", spec, "\x00\x02a\x00\x00\x02b\x00", `"a"/3 |"b"/3 `},
		{"delimiters at the end", spec, "\x02a\x00\x00\x00", `"a"/3 |"\x00\x00"/2 malformed`},
		{"code beyond the end", spec, "\x03a\x00\x02b\x00", `"\x03a\x00"/3 malformed|"b"/3 `},
		{"not finished", spec, "\x02a\x00\x04b", `"a"/3 |"\x04b"/2 partial`},
		{"too long", spec, "\x06abcde\x00\x02b\x00", `"\x06abc"/4 continued|"de\x00"/3 malformed|"b"/3 `},
		{"a full block", long, "\xff" + x254 + "\x00", `"` + x254 + `"/256 `},
		{"a full block, padded", long, "\xff" + x254 + "\x01\x00", `"` + x254 + `"/257 padded`},
		{"a full block and a zero", long, "\xff" + x254 + "\x01\x01\x00", `"` + x254 + `\x00"/258 `},
		{"two full blocks", long, "\xff" + x254 + "\xff" + x254 + "\x00", `"` + x254 + x254 + `"/511 `},
		{"a full block and one byte", long, "\xff" + x254 + "\x02y\x00", `"` + x254 + `y"/258 `},
	}.run(t)
}

// What is encoded is decoded, at every length around the blocks, with zeros anywhere.
func TestPacketsOfEveryLength(t *testing.T) {
	for _, kind := range []string{Slip, Cobs} {
		for _, length := range []int{1, 2, 3, 252, 253, 254, 255, 256, 507, 508, 509, 510, 762, 763} {
			for _, fill := range []byte{0, 1, 0xC0, 0xDB, 0xFF} {
				for _, at := range []int{-1, 0, length / 2, length - 1, 253, 254} {
					payload := bytes.Repeat([]byte{fill}, length)
					if at >= 0 && at < length {
						payload[at] ^= fill // zero
					}
					s := newStream(t, Spec{Type: kind, MaxBytes: length})
					s.feed(t, s.codec.Append(nil, payload, 0), More)
					if len(s.frames) != 1 || s.frames[0].payload != string(payload) || s.frames[0].flags != 0 {
						t.Fatalf("%s: %d bytes %#x with a zero at %d were received as %v", kind, length, fill, at, s.frames)
					}
				}
			}
		}
	}
}

// A line that idles at the delimiter fills no memory and hides no packet.
func TestRunsOfDelimiters(t *testing.T) {
	s := newStream(t, Spec{Type: Cobs, MaxBytes: 10})
	for range 10 * maxRun {
		s.feed(t, []byte{0}, More)
	}
	s.feed(t, []byte("\x02a\x00"), More)
	if s.most > maxRun || s.frames[len(s.frames)-1] != (got{"a", 3, 0}) || len(s.rebuilt) != 10*maxRun+3 {
		t.Errorf("%d bytes have waited; the last of %d frames is %v; %d bytes in all", s.most, len(s.frames), s.frames[len(s.frames)-1], len(s.rebuilt))
	}
}

func TestLength(t *testing.T) {
	one := Spec{Type: Length, Size: 1, ByteOrder: BigEndian, MaxBytes: 8}
	two := Spec{Type: Length, Size: 2, ByteOrder: BigEndian, MaxBytes: 8}
	little := Spec{Type: Length, Size: 2, ByteOrder: LittleEndian, MaxBytes: 8}
	four := Spec{Type: Length, Size: 4, ByteOrder: LittleEndian, MaxBytes: 8}
	itself := Spec{Type: Length, Size: 1, ByteOrder: BigEndian, CountsItself: true, MaxBytes: 8}
	modbus := Spec{Type: Length, Size: 1, ByteOrder: BigEndian, Offset: 2, Extra: 2, MaxBytes: 12} // address, function, length, data, CRC
	all := Spec{Type: Length, Size: 1, ByteOrder: BigEndian, Offset: 1, Extra: -2, MaxBytes: 8}    // it counts what is before it as well
	rows{
		{"nothing", one, "", ``},
		{"one byte", one, "\x02ab\x00\x01c", `"\x02ab"/3 |"\x00"/1 |"\x01c"/2 `},
		{"two bytes", two, "\x00\x02ab\x00\x00", `"\x00\x02ab"/4 |"\x00\x00"/2 `},
		{"two bytes, the low one first", little, "\x02\x00ab", `"\x02\x00ab"/4 `},
		{"four bytes", four, "\x02\x00\x00\x00ab", `"\x02\x00\x00\x00ab"/6 `},
		{"counting itself", itself, "\x03ab\x01", `"\x03ab"/3 |"\x01"/1 `},
		{"a checksum behind", modbus, "\x11\x03\x02ab\xc1\xc2", `"\x11\x03\x02ab\xc1\xc2"/7 `},
		{"counting all", all, "S\x04abS\x02", `"S\x04ab"/4 |"S\x02"/2 `},
		{"the longest", one, "\x07abcdefg", `"\aabcdefg"/8 `},
		{"too long, then found again", one, "\xffabc\x02de", `"\xffabc"/4 malformed|"\x02de"/3 `},
		{"shorter than its header", itself, "\x00\x00\x02a", `"\x00\x00"/2 malformed|"\x02a"/2 `},
		{"garbage without end", one, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", `"\xff\xff\xff\xff\xff\xff\xff\xff"/8 malformed|"\xff\xff"/2 malformed`},
		{"not finished", two, "\x00\x05abc", `"\x00\x05abc"/5 partial`},
		{"half a header", two, "\x00", `"\x00"/1 partial`},
	}.run(t)
}

func TestFixedAndGap(t *testing.T) {
	rows{
		{"fixed", Spec{Type: Fixed, Bytes: 3, MaxBytes: 1}, "abcdefgh", `"abc"/3 |"def"/3 |"gh"/2 partial`},
		{"gap", Spec{Type: GapType, Gap: 1, MaxBytes: 4}, "abcd", `"abcd"/4 partial`},
		{"gap, too long", Spec{Type: GapType, Gap: 1, MaxBytes: 4}, "abcdefghi", `"abcd"/4 continued|"efgh"/4 continued|"i"/1 partial`},
	}.run(t)
}

// Silence ends what has no other end, and is the end of a frame for one framing.
func TestSilence(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want []got
	}{
		{Default(), []got{{"ab", 2, Partial}, {"c", 1, Partial}}},
		{Spec{Type: Fixed, Bytes: 3, MaxBytes: 3}, []got{{"ab", 2, Partial}, {"c", 1, Partial}}},
		{Spec{Type: GapType, Gap: 1, MaxBytes: 3}, []got{{"ab", 2, 0}, {"c", 1, 0}}},
		{Spec{Type: Slip, MaxBytes: 3}, []got{{"ab", 2, Partial}, {"c", 1, Partial}}},
		{Spec{Type: Cobs, MaxBytes: 200}, []got{{"ab", 2, Partial}, {"c", 1, Partial}}},
		{Spec{Type: Length, Size: 1, ByteOrder: BigEndian, MaxBytes: 200}, []got{{"ab", 2, Partial}, {"c", 1, Partial}}},
	} {
		s := newStream(t, c.spec)
		s.feed(t, []byte("ab"), Silence)
		s.feed(t, nil, Silence)
		s.feed(t, []byte("c"), Silence)
		if !slices.Equal(s.frames, c.want) {
			t.Errorf("%s: %v, want %v", c.spec.Type, s.frames, c.want)
		}
	}
}
