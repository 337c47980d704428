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
		name string
		spec Spec
	}{
		{"nmea", Spec{Type: Line, Delimiter: []byte("\r\n"), MaxBytes: 82}},
		{"nmea-ubx", Spec{Type: Line, Delimiter: []byte("\r\n"), MaxBytes: 82}}, // binary blocks in between, longer than a frame
		{"line-ends", Spec{Type: Line, Delimiter: []byte("\n"), MaxBytes: 64}},  // CR LF, LF, CR and LF CR
		{"nuls", Spec{Type: Line, Delimiter: []byte{0}, MaxBytes: 16}},
		{"no-final-newline", Spec{Type: Line, Delimiter: []byte("\n"), MaxBytes: 64}},
		{"no-final-newline-raw", Spec{Type: Raw, MaxBytes: 16}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", c.name+".bin"))
			if err != nil {
				t.Fatal(err)
			}
			codec, err := New(c.spec)
			if err != nil {
				t.Fatal(err)
			}
			frames := chunked(t, codec, data, len(data))
			if !bytes.Equal(joined(codec, frames), data) {
				t.Error("the frames are not what they were made of")
			}
			list, offset := new(bytes.Buffer), 0
			for _, f := range frames {
				flags := f.flags.String()
				if flags == "" {
					flags = "-"
				}
				fmt.Fprintf(list, "%d %d %s %q\n", offset, f.size, flags, f.payload)
				offset += f.size
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
