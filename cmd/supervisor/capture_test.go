package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestCapturesComeBack feeds recordings of real devices through a port in odd chunks. They must come back byte for byte
// from a live tap and from the history, whatever is in them.
func TestCapturesComeBack(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "captures", "*.log"))
	if len(files) == 0 {
		t.Log("NO RECORDINGS OF REAL DEVICES in ../shared/captures: testing with the synthetic ones alone")
	}
	synthetic, err := filepath.Glob("testdata/captures/*")
	if err != nil || len(synthetic) == 0 {
		t.Fatalf("testdata/captures is empty: %v", err)
	}
	for _, file := range append(files, synthetic...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			g := startGateway(t, "framing: {type: line, max_bytes: 1024}")
			tapped := g.tap(t, "gps", "--raw")
			random := rand.New(rand.NewPCG(1, uint64(len(want))))
			for rest := want; len(rest) > 0; {
				n := min(1+random.IntN(300), len(rest))
				if _, err := g.device.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			g.await(t, "every byte was read", func(s portNumbers) bool { return s.Rx.Bytes == uint64(len(want)) })
			// What follows the last delimiter comes when the port closes.
			if err := g.device.Close(); err != nil {
				t.Fatal(err)
			}
			g.await(t, "the port is closed", func(s portNumbers) bool { return s.State == "missing" })
			equal(t, "live tap", tapped.until(t, len(want)), want)
			history := g.tap(t, "gps", "--raw", "--since", "1h")
			equal(t, "history", history.until(t, len(want)), want)
		})
	}
}

// equal compares long texts and says where they part.
func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	around := func(b []byte) string { return fmt.Sprintf("%q", b[max(0, i-20):min(len(b), i+40)]) }
	t.Errorf("%s: %d bytes, want %d; they part at %d: %s, want %s", what, len(got), len(want), i, around(got), around(want))
}
