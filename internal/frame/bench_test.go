package frame

import (
	"bytes"
	"testing"
)

// splitAll walks through data as a reader does, and returns how many frames there are.
func splitAll(codec Codec, data []byte) (frames int) {
	for {
		f := codec.Split(data, Position{})
		if f.Size == 0 {
			return frames
		}
		data = data[f.Skip+f.Size:]
		frames++
	}
}

// typical are specs with frames of 80 bytes on the line, about.
func typical() map[string]Spec {
	return map[string]Spec{
		"line LF":   {Type: Line, Delimiter: []byte("\n"), MaxBytes: DefaultMaxBytes},
		"line CRLF": {Type: Line, Delimiter: []byte("\r\n"), MaxBytes: DefaultMaxBytes},
		"fixed":     {Type: Fixed, Bytes: 80, MaxBytes: DefaultMaxBytes},
		"length":    {Type: Length, Size: 2, ByteOrder: BigEndian, MaxBytes: DefaultMaxBytes},
		"slip":      {Type: Slip, MaxBytes: DefaultMaxBytes},
		"cobs":      {Type: Cobs, MaxBytes: DefaultMaxBytes},
	}
}

// typicalData are n frames as a device of the spec says them.
func typicalData(tb testing.TB, spec Spec, n int) (Codec, []byte) {
	tb.Helper()
	codec, err := New(spec)
	if err != nil {
		tb.Fatal(err)
	}
	payload := append([]byte{0, 78}, bytes.Repeat([]byte("x"), 78)...) // two bytes of length, where that is asked for
	if spec.Type == Line {
		payload = payload[:80-len(spec.Delimiter)]
	}
	var data []byte
	for range n {
		data = codec.Append(data, payload, 0)
	}
	return codec, data
}

func TestSplitDoesNotAllocate(t *testing.T) {
	for name, spec := range typical() {
		codec, data := typicalData(t, spec, 100)
		if frames := splitAll(codec, data); frames != 100 {
			t.Fatalf("%s: %d frames, want 100", name, frames)
		}
		if n := testing.AllocsPerRun(10, func() { splitAll(codec, data) }); n != 0 {
			t.Errorf("%s: splitting 100 frames allocates %v times", name, n)
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	for name, spec := range typical() {
		b.Run(name, func(b *testing.B) {
			codec, data := typicalData(b, spec, 800)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				splitAll(codec, data)
			}
		})
	}
}

// A long line that comes byte by byte, the worst that a device can do.
func BenchmarkSplitByteByByte(b *testing.B) {
	codec := lineCodec(b, "\r\n", DefaultMaxBytes)
	data := append(bytes.Repeat([]byte("\r"), DefaultMaxBytes-1), "\r\n"...)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for n := range len(data) {
			codec.Split(data[:n+1], Position{Scanned: n})
		}
	}
}
