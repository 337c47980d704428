package frame

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// got is one frame that came out of Split.
type got struct {
	payload string
	size    int
	flags   Flags
}

func (g got) String() string { return fmt.Sprintf("%q/%d %s", g.payload, g.size, g.flags) }

// stream feeds bytes to a codec as a reader does.
type stream struct {
	codec   Codec
	between byte // what is skipped
	data    []byte
	at      Position
	frames  []got
	offsets []int  // of the frames
	rebuilt []byte // what the frames were made of, put together from them
	most    int    // of the bytes that have waited for more
}

func newStream(t testing.TB, spec Spec) *stream {
	t.Helper()
	codec, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	between, _ := spec.Between()
	return &stream{codec: codec, between: between}
}

// feed adds bytes and takes the frames that are there.
func (s *stream) feed(t testing.TB, chunk []byte, end End) {
	t.Helper()
	s.data = append(s.data, chunk...)
	s.at.End = end
	for {
		f := s.codec.Split(s.data, s.at)
		if f.Size == 0 {
			s.at.Scanned = len(s.data)
			s.most = max(s.most, len(s.data))
			if end != More && len(s.data) > 0 {
				t.Fatalf("%d bytes are left, though no more come", len(s.data))
			}
			return
		}
		if f.Skip+f.Size > len(s.data) || cap(f.Payload) != len(f.Payload) {
			t.Fatalf("frame %+v out of %d bytes, with room for %d behind it", f, len(s.data), cap(f.Payload)-len(f.Payload))
		}
		s.frames = append(s.frames, got{string(f.Payload), f.Size, f.Flags})
		s.rebuilt = append(s.rebuilt, bytes.Repeat([]byte{s.between}, f.Skip)...)
		before := len(s.rebuilt)
		s.offsets = append(s.offsets, before)
		if s.rebuilt = s.codec.Append(s.rebuilt, f.Payload, f.Flags); len(s.rebuilt)-before != f.Size {
			t.Fatalf("frame %+v is sent as %d bytes", f, len(s.rebuilt)-before)
		}
		payload := string(f.Payload)
		if again := s.codec.Payload(s.data[f.Skip:f.Skip+f.Size], f.Flags); string(again) != payload {
			t.Fatalf("the payload of frame %+v is %q the first time and %q the second", f, payload, again)
		}
		s.data = s.data[f.Skip+f.Size:]
		s.at = Position{Continued: f.Flags&Continued != 0, End: end}
	}
}

// chunked are the frames of data in chunks of n bytes, with an end behind the last.
func chunked(t testing.TB, codec Codec, data []byte, n int) []got {
	t.Helper()
	s := stream{codec: codec}
	for chunk := range slices.Chunk(data, n) {
		s.feed(t, chunk, More)
	}
	s.feed(t, nil, Closed)
	return s.frames
}

// joined is what the frames were made of.
func joined(codec Codec, frames []got) []byte {
	var all []byte
	for _, f := range frames {
		all = codec.Append(all, []byte(f.payload), f.flags)
	}
	return all
}

// reference are the frames of a whole stream, found the plain way: cut at delimiters, then cut what is too long.
func reference(data []byte, delimiter string, maxBytes int) []got {
	var frames []got
	lines := strings.Split(string(data), delimiter)
	for i, line := range lines {
		for len(line) > maxBytes {
			frames = append(frames, got{line[:maxBytes], maxBytes, Continued})
			line = line[maxBytes:]
		}
		if last := i == len(lines)-1; !last {
			frames = append(frames, got{line, len(line) + len(delimiter), 0})
		} else if line != "" {
			frames = append(frames, got{line, len(line), Partial})
		}
	}
	return frames
}

func TestSplitLine(t *testing.T) {
	for _, c := range []struct {
		name, delimiter string
		maxBytes        int
		data            string
		want            string // the frames as String has them, joined with |
	}{
		{"nothing", "\n", 4, "", ``},
		{"empty line", "\n", 4, "\n", `""/1 `},
		{"empty lines", "\r\n", 4, "\r\n\r\n", `""/2 |""/2 `},
		{"one line", "\n", 4, "ab\n", `"ab"/3 `},
		{"no final delimiter", "\n", 4, "ab\ncd", `"ab"/3 |"cd"/2 partial`},
		{"half a delimiter", "\r\n", 4, "ab\r", `"ab\r"/3 partial`},
		{"delimiter in doubt", "\r\n", 4, "ab\r\r\n", `"ab\r"/5 `},
		{"delimiter that overlaps itself", "aab", 8, "aaab", `"a"/4 `},
		{"delimiter twice the same byte", "aa", 8, "baaa", `"b"/3 |"a"/1 partial`},
		{"one byte short of full", "\n", 4, "abc\n", `"abc"/4 `},
		{"full", "\n", 4, "abcd\n", `"abcd"/5 `},
		{"one byte over", "\n", 4, "abcde\n", `"abcd"/4 continued|"e"/2 `},
		{"twice full", "\n", 4, "abcdefgh\n", `"abcd"/4 continued|"efgh"/5 `},
		{"full, no delimiter", "\n", 4, "abcd", `"abcd"/4 partial`},
		{"one byte over, no delimiter", "\n", 4, "abcde", `"abcd"/4 continued|"e"/1 partial`},
		{"full, long delimiter", "END", 4, "abcdEND", `"abcd"/7 `},
		{"one byte over, long delimiter", "END", 4, "abcdeEND", `"abcd"/4 continued|"e"/4 `},
		{"full, half a delimiter", "END", 4, "abcdEN", `"abcd"/4 continued|"EN"/2 partial`},
		{"full, nearly a delimiter", "END", 4, "abcdENd", `"abcd"/4 continued|"ENd"/3 partial`},
		{"delimiter longer than a frame", "0123456789abcdef", 1, "xy0123456789abcdef", `"x"/1 continued|"y"/17 `},
		{"frames of one byte", "\n", 1, "a\n\nbc\n", `"a"/2 |""/1 |"b"/1 continued|"c"/2 `},
		{"any bytes", "\x00", 4, "\xff\n\x00\r\x00", `"\xff\n"/3 |"\r"/2 `},
	} {
		t.Run(c.name, func(t *testing.T) {
			codec := lineCodec(t, c.delimiter, c.maxBytes)
			for n := 1; n <= max(1, len(c.data)); n++ {
				var texts []string
				for _, f := range chunked(t, codec, []byte(c.data), n) {
					texts = append(texts, f.String())
				}
				if text := strings.Join(texts, "|"); text != c.want {
					t.Errorf("in chunks of %d:\n got %s\nwant %s", n, text, c.want)
				}
			}
		})
	}
}

// Lines of every length around the edges, behind one another, in chunks of every size.
func TestSplitLineEdges(t *testing.T) {
	for _, delimiter := range []string{"\n", "\r\n", "\x00", "\r\r\n", "aa", "aab", "0123456789abcdef"} {
		for _, maxBytes := range []int{1, 2, 3, 7, 16, 17} {
			codec := lineCodec(t, delimiter, maxBytes)
			var data []byte
			for length := range 3*maxBytes + 2 {
				data = append(data, strings.Repeat("abr\r", length)[:length]...)
				data = append(data, delimiter...)
			}
			data = append(data, delimiter[:len(delimiter)-1]...)
			want := reference(data, delimiter, maxBytes)
			for n := 1; n <= len(data); n++ {
				frames := chunked(t, codec, data, n)
				if !slices.Equal(frames, want) {
					t.Fatalf("delimiter %q, at most %d, in chunks of %d:\n got %v\nwant %v", delimiter, maxBytes, n, frames, want)
				}
				if n == 1 && !bytes.Equal(joined(codec, frames), data) {
					t.Fatalf("delimiter %q, at most %d: the frames are not what they were made of", delimiter, maxBytes)
				}
			}
		}
	}
}

func TestSplitLineDefault(t *testing.T) {
	codec, err := New(Default())
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for _, length := range []int{0, 80, DefaultMaxBytes - 1, DefaultMaxBytes, DefaultMaxBytes + 1, 2 * DefaultMaxBytes, 80} {
		data = append(append(data, bytes.Repeat([]byte("x"), length)...), '\n')
	}
	want := reference(data, "\n", DefaultMaxBytes)
	for _, n := range []int{511, 4096, DefaultMaxBytes, DefaultMaxBytes + 1, len(data)} {
		if frames := chunked(t, codec, data, n); !slices.Equal(frames, want) {
			t.Errorf("in chunks of %d there are %d frames other than the %d wanted", n, len(frames), len(want))
		}
	}
}

// A silence may come anywhere: what was there is a frame, and no byte is lost. Only so does an empty frame end a line.
func TestSplitLineAfterSilence(t *testing.T) {
	codec := lineCodec(t, "\r\n", 4)
	data := []byte("ab\r\ncdefg\r\n\r\nabcd\r\nh")
	for silence := range len(data) + 1 {
		s := stream{codec: codec}
		s.feed(t, data[:silence], Silence)
		s.feed(t, data[silence:], Closed)
		if all := joined(codec, s.frames); !bytes.Equal(all, data) {
			t.Errorf("silence behind %q: the frames %v are %q", data[:silence], s.frames, all)
		}
	}
	s := stream{codec: codec}
	s.feed(t, []byte("abcd"), Silence)
	s.feed(t, []byte("\r\n"), More)
	if want := []got{{"abcd", 4, Partial}, {"", 2, 0}}; !slices.Equal(s.frames, want) {
		t.Errorf("silence before the delimiter: %v, want %v", s.frames, want)
	}
}

// A line of 8 MiB that comes byte by byte would take hours if each call began at its start.
func TestSplitLineLooksOnce(t *testing.T) {
	for _, c := range []struct {
		delimiter, data string
		scanned, size   int
	}{
		{"\n", "a\nb", 2, 0},       // the line feed was looked at, so it is not seen
		{"\n", "a\nb", 1, 2},       // this one was not
		{"\r\n", "a\r\nb", 3, 0},   // seen whole
		{"\r\n", "a\r\nb", 2, 3},   // across the edge
		{"abcd", "xabcd", 4, 5},    // across the edge, by one byte
		{"abcd", "xabcd", 2, 5},    // across the edge, by three
		{"abcd", "xabcdx", 5, 0},   // seen whole
		{"abcd", "xabcdabc", 8, 0}, // nothing is new
	} {
		if f := lineCodec(t, c.delimiter, 64).Split([]byte(c.data), Position{Scanned: c.scanned}); f.Size != c.size {
			t.Errorf("%q in %q behind %d bytes: size %d, want %d", c.delimiter, c.data, c.scanned, f.Size, c.size)
		}
	}
}

func TestSplitRaw(t *testing.T) {
	codec, err := New(Spec{Type: Raw, MaxBytes: 4})
	if err != nil {
		t.Fatal(err)
	}
	s := stream{codec: codec}
	for _, chunk := range []string{"", "ab\n", "cdef", "ghijk", "\x00"} {
		s.feed(t, []byte(chunk), More)
	}
	s.feed(t, []byte("lm"), Closed)
	want := []got{{"ab\n", 3, 0}, {"cdef", 4, 0}, {"ghij", 4, 0}, {"k", 1, 0}, {"\x00", 1, 0}, {"lm", 2, 0}}
	if !slices.Equal(s.frames, want) {
		t.Errorf("frames are %v, want %v", s.frames, want)
	}
}

// Append puts back what Split took off.
func TestSplitThenAppend(t *testing.T) {
	data := []byte("$GPGGA*00\r\n\r\nlonger than eight\r\n12345678\r\n\n\r\r\nend\r")
	for _, delimiter := range []string{"\n", "\r\n", "\r", "e", "\r\n\r\n", "absent"} {
		codec := lineCodec(t, delimiter, 8)
		var all []byte
		for _, f := range chunked(t, codec, data, len(data)) {
			all = codec.Append(all, []byte(f.payload), f.flags)
		}
		if !bytes.Equal(all, data) {
			t.Errorf("delimiter %q: %q came back as %q", delimiter, data, all)
		}
	}
}
