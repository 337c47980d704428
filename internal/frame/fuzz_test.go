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
			steady.feed(t, rest[:n], More)
			broken.feed(t, rest[:n], silence(random))
			rest = rest[n:]
			if most := maxBytes + len(delimiter); len(steady.data) >= most {
				t.Fatalf("%d bytes wait for more, though %d are always a frame", len(steady.data), most)
			}
		}
		steady.feed(t, nil, Closed)
		broken.feed(t, nil, Closed)

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

// silence comes behind a chunk now and then.
func silence(random *rand.Rand) End {
	if random.IntN(4) == 0 {
		return Silence
	}
	return More
}

// fuzzSpec splits any bytes in chunks of any size. The frames are those of the whole stream at once; put together they are
// the bytes, wherever silences come; and what waits for more bytes is never more than Spec.WireBytes.
func fuzzSpec(t *testing.T, spec Spec, data []byte, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	once, steady, broken := newStream(t, spec), newStream(t, spec), newStream(t, spec)
	once.feed(t, data, More)
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(1+random.IntN(40)))
		steady.feed(t, rest[:n], More)
		broken.feed(t, rest[:n], silence(random))
		rest = rest[n:]
	}
	for name, s := range map[string]*stream{"once": once, "steady": steady, "broken": broken} {
		s.feed(t, nil, Closed)
		if !bytes.Equal(s.rebuilt, data) {
			t.Errorf("%s: the frames %v of %q are %q", name, s.frames, data, s.rebuilt)
		}
		for _, f := range s.frames {
			if most := max(spec.MaxBytes, spec.Bytes, maxRun*int(f.flags&Malformed)); len(f.payload) > most {
				t.Errorf("%s: frame %v, where the limit is %d", name, f, most)
			}
		}
	}
	if !slices.Equal(once.frames, steady.frames) {
		t.Errorf("frames of %q are %v at once and %v in chunks", data, once.frames, steady.frames)
	}
	if most := spec.WireBytes(); steady.most > most {
		t.Errorf("%d bytes wait for more, and are to be at most %d", steady.most, most)
	}
}

// fuzzPayload sends a payload and receives it.
func fuzzPayload(t *testing.T, spec Spec, payload []byte) {
	s := newStream(t, spec)
	s.feed(t, s.codec.Append(nil, payload, 0), More)
	if want := []got{{string(payload), len(s.rebuilt), 0}}; !slices.Equal(s.frames, want) {
		t.Errorf("%q was received as %v", payload, s.frames)
	}
}

func FuzzSlip(f *testing.F) {
	f.Add([]byte("\xc0\xc0ab\xdb\xdcc\xdb\xdd\xc0d\xdbe\xc0\xdb\xc0"), uint16(3), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, limit uint16, seed uint64) {
		spec := Spec{Type: Slip, MaxBytes: 1 + int(limit)%300}
		fuzzSpec(t, spec, data, seed)
		if len(data) > 0 && len(data) <= spec.MaxBytes {
			fuzzPayload(t, spec, data)
		}
	})
}

func FuzzCobs(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x03ab\x02c\x00\x05d\x00"), uint16(3), uint64(1))
	full := append([]byte{0xff}, bytes.Repeat([]byte("x"), 254)...)
	f.Add(append(append(full, 1, 0), append(full, 0)...), uint16(600), uint64(2))
	f.Fuzz(func(t *testing.T, data []byte, limit uint16, seed uint64) {
		spec := Spec{Type: Cobs, MaxBytes: 1 + int(limit)%800}
		fuzzSpec(t, spec, data, seed)
		if len(data) <= spec.MaxBytes {
			fuzzPayload(t, spec, data)
		}
	})
}

func FuzzLength(f *testing.F) {
	f.Add([]byte("\x00\x02ab\xff\xff\xffxx\x00\x01c"), uint16(8), uint8(1), uint8(0), int8(0), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, limit uint16, form, offset uint8, extra int8, seed uint64) {
		spec := Spec{
			Type: Length, MaxBytes: 1 + int(limit)%300, Size: []int{1, 2, 4}[form%3], ByteOrder: []string{BigEndian, LittleEndian}[form/3%2],
			CountsItself: form/6%2 == 1, Offset: int(offset) % 20, Extra: int(extra),
		}
		if spec.Validate() == nil {
			fuzzSpec(t, spec, data, seed)
		}
	})
}

func FuzzFixed(f *testing.F) {
	f.Add([]byte("abcdefgh"), uint8(3), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint8, seed uint64) {
		fuzzSpec(t, Spec{Type: Fixed, Bytes: 1 + int(size), MaxBytes: 1 + int(size)}, data, seed)
	})
}

func FuzzGap(f *testing.F) {
	f.Add([]byte("abcdefgh"), uint8(3), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, limit uint8, seed uint64) {
		fuzzSpec(t, Spec{Type: GapType, Gap: 1, MaxBytes: 1 + int(limit)}, data, seed)
	})
}
