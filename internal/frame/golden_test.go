package frame

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files from what the code does")

// The captures in testdata are synthetic. Each has a golden list of its frames:
//
//	offset size flags payload
//
// with the offset of the frame's first byte, - for no flags, and the payload as a Go string.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name   string
		spec   Spec
		silent []int // offsets that silence comes before
	}{
		{"nmea", Spec{Type: Line, Delimiter: []byte("\r\n"), MaxBytes: 82}, nil},
		{"nmea-ubx", Spec{Type: Line, Delimiter: []byte("\r\n"), MaxBytes: 82}, nil}, // binary blocks in between, longer than a frame
		{"line-ends", Spec{Type: Line, Delimiter: []byte("\n"), MaxBytes: 64}, nil},  // CR LF, LF, CR and LF CR
		{"nuls", Spec{Type: Line, Delimiter: []byte{0}, MaxBytes: 16}, nil},
		{"no-final-newline", Spec{Type: Line, Delimiter: []byte("\n"), MaxBytes: 64}, nil},
		{"no-final-newline-raw", Spec{Type: Raw, MaxBytes: 16}, nil},
		{"slip", Spec{Type: Slip, MaxBytes: 300}, nil},                                                        // noise before, a wrong escape, no end
		{"cobs", Spec{Type: Cobs, MaxBytes: 600}, nil},                                                        // full blocks, one padded, empty packets
		{"length", Spec{Type: Length, Size: 1, ByteOrder: BigEndian, Offset: 2, Extra: 2, MaxBytes: 40}, nil}, // a mark in front, a checksum behind, garbage
		{"gap", Spec{Type: GapType, Gap: 1, MaxBytes: 256}, []int{8, 17, 25}},                                 // Modbus RTU: requests and answers, the last cut off
		{"fixed", Spec{Type: Fixed, Bytes: 8, MaxBytes: DefaultMaxBytes}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", c.name+".bin"))
			if err != nil {
				t.Fatal(err)
			}
			st := newStream(t, c.spec)
			begin := 0
			for _, at := range c.silent {
				st.feed(t, data[begin:at], Silence)
				begin = at
			}
			st.feed(t, data[begin:], More)
			st.feed(t, nil, Closed)
			if !bytes.Equal(st.rebuilt, data) {
				t.Error("the frames are not what they were made of")
			}
			list := new(bytes.Buffer)
			for i, f := range st.frames {
				flags := f.flags.String()
				if flags == "" {
					flags = "-"
				}
				fmt.Fprintf(list, "%d %d %s %q\n", st.offsets[i], f.size, flags, f.payload)
			}
			golden := filepath.Join("testdata", c.name+".golden")
			if *update {
				if err := os.WriteFile(golden, list.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(list.Bytes(), want) {
				t.Errorf("the frames are other than in %s (go test -update writes it):\n%s", golden, list)
			}
		})
	}
}
