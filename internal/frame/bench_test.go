package frame

import (
	"bytes"
	"testing"
)

// lines of 80 bytes, the delimiter included, as NMEA has them at most.
func lines(n int, delimiter string) []byte {
	line := append(bytes.Repeat([]byte("x"), 80-len(delimiter)), delimiter...)
	return bytes.Repeat(line, n)
}

// splitAll walks through data as a reader does, and returns how many frames there are.
func splitAll(codec Codec, data []byte) (frames int) {
	for {
		_, size, _ := codec.Split(data, 0, false)
		if size == 0 {
			return frames
		}
		data = data[size:]
		frames++
	}
}

func TestSplitDoesNotAllocate(t *testing.T) {
	for _, delimiter := range []string{"\n", "\r\n"} {
		codec, data := lineCodec(t, delimiter, DefaultMaxBytes), lines(100, delimiter)
		if frames := splitAll(codec, data); frames != 100 {
			t.Fatalf("%q: %d frames, want 100", delimiter, frames)
		}
		if n := testing.AllocsPerRun(10, func() { splitAll(codec, data) }); n != 0 {
			t.Errorf("%q: splitting 100 lines allocates %v times", delimiter, n)
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	for name, delimiter := range map[string]string{"LF": "\n", "CRLF": "\r\n"} {
		b.Run(name, func(b *testing.B) {
			codec, data := lineCodec(b, delimiter, DefaultMaxBytes), lines(800, delimiter)
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
			codec.Split(data[:n+1], n, false)
		}
	}
}
