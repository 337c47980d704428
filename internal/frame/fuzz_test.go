package frame

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// FuzzLine splits any bytes, in chunks of any size, with any delimiter and limit: the frames are those of the reference,
// and joined they are the bytes. With silences anywhere in between they still are, and no frame is too long.
func FuzzLine(f *testing.F) {
	f.Add([]byte("ab\xfecd\xfe\xfeef"), []byte("\n"), uint16(3), uint64(1))
	f.Add([]byte("$GPGGA,1*00\r\n\xb5\x62\x01\r\r\n"), []byte("\r\n"), uint16(7), uint64(2))
	f.Add([]byte("aaaaaabaaab"), []byte("aab"), uint16(0), uint64(3))
	f.Add([]byte{}, []byte{}, uint16(65535), uint64(4))
	f.Fuzz(func(t *testing.T, data, delimiter []byte, limit uint16, seed uint64) {
		if len(delimiter) == 0 {
			delimiter = []byte("\n")
		}
		delimiter = delimiter[:min(len(delimiter), MaxDelimiterBytes)]
		maxBytes := 1 + int(limit)%300
		// Random bytes seldom hold a delimiter, so 0xFE stands for one.
		data = bytes.ReplaceAll(data, []byte{0xfe}, delimiter)
		codec := lineCodec(t, string(delimiter), maxBytes)
		random := rand.New(rand.NewPCG(seed, 0))

		steady, broken := stream{codec: codec}, stream{codec: codec}
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(1+random.IntN(2*maxBytes)))
			steady.feed(t, rest[:n], false)
			broken.feed(t, rest[:n], random.IntN(4) == 0)
			rest = rest[n:]
			if most := maxBytes + len(delimiter); len(steady.data) >= most {
				t.Fatalf("%d bytes wait for more, though %d are always a frame", len(steady.data), most)
			}
		}
		steady.feed(t, nil, true)
		broken.feed(t, nil, true)

		if want := reference(data, string(delimiter), maxBytes); !slices.Equal(steady.frames, want) {
			t.Errorf("frames of %q\n are %v\nwant %v", data, steady.frames, want)
		}
		for name, frames := range map[string][]got{"steady": steady.frames, "broken": broken.frames} {
			if all := joined(codec, frames); !bytes.Equal(all, data) {
				t.Errorf("%s: the frames of %q are %q", name, data, all)
			}
			var sent []byte
			for _, g := range frames {
				sent = codec.Append(sent, []byte(g.payload), g.flags)
				if len(g.payload) > maxBytes || g.flags&Continued != 0 && len(g.payload) != maxBytes {
					t.Errorf("%s: frame %v, where the limit is %d", name, g, maxBytes)
				}
			}
			if !bytes.Equal(sent, data) {
				t.Errorf("%s: %q was sent on as %q", name, data, sent)
			}
		}
	})
}
