package simulator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// run plays a device; stop ends it and returns what Run did.
func run(t *testing.T, device func(context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- device(ctx) }()
	stop = func() error {
		cancel()
		select {
		case err := <-done:
			done <- err
			return err
		case <-time.After(limit):
			t.Fatal("the device goes on, though its context ended")
			return nil
		}
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// body is a sentence without what frames it: $, checksum and CR LF, which have to be right.
func body(t *testing.T, sentence string) string {
	t.Helper()
	inner, ok := strings.CutSuffix(sentence, "\r\n")
	inner, dollar := strings.CutPrefix(inner, "$")
	text, sum, star := strings.Cut(inner, "*")
	if !ok || !dollar || !star || len(sentence) > 82 {
		t.Fatalf("%q is not $body*sum CR LF of at most 82 bytes", sentence)
	}
	want := byte(0)
	for _, c := range []byte(text) {
		want ^= c
	}
	if sum != fmt.Sprintf("%02X", want) {
		t.Fatalf("%q has the checksum %s, want %02X", sentence, sum, want)
	}
	return text
}

func TestGPS(t *testing.T) {
	p := openPty(t)
	port := openPort(t, p.Path())
	start := time.Now().UTC().Truncate(10 * time.Millisecond)
	stop := run(t, GPS{Pty: p, Interval: 5 * time.Millisecond}.Run)
	// It does not mind what it is told, however much.
	if _, err := port.Write(everyByte(400)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(port)
	last := start
	for i := range 10 {
		sentence, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Split(body(t, sentence), ",")
		want, length := "GPGGA", 15
		if i%2 == 1 {
			want, length = "GPRMC", 13
		}
		if fields[0] != want || len(fields) != length {
			t.Fatalf("sentence %d is %q, want %s with %d fields", i, sentence, want, length)
		}
		if want != "GPRMC" {
			continue
		}
		at, err := time.Parse("020106 150405.00", fields[9]+" "+fields[1])
		if err != nil || at.Before(last) || at.After(time.Now()) {
			t.Errorf("%q is from %v, %v; want between %v and now", sentence, at, err, last)
		}
		last = at
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestSentences(t *testing.T) {
	// 245 of 600 seconds around: at 147 degrees of the circle, north-west of its middle, heading 213.
	at := time.Date(2026, 1, 2, 4, 4, 5, 60e6, time.FixedZone("CET", 3600))
	want := []string{
		"$GPGGA,030405.06,5332.5227,N,00958.9765,E,1,08,0.9,12.3,M,46.9,M,,*",
		"$GPRMC,030405.06,A,5332.5227,N,00958.9765,E,002.1,213.0,020126,,,A*",
	}
	seen := map[string]bool{}
	for i := range 600 {
		sentences := Sentences(at.Add(time.Duration(i) * time.Second))
		for _, s := range sentences {
			body(t, s+"\r\n")
		}
		fields := strings.Split(sentences[0], ",")
		seen[fields[2]+fields[4]] = true
		if !strings.HasPrefix(fields[2], "5332.") || !strings.HasPrefix(fields[4], "009") {
			t.Fatalf("%s is not in Hamburg", sentences[0])
		}
	}
	if len(seen) != 600 {
		t.Errorf("in 600 seconds it is at %d places", len(seen))
	}
	for i, s := range Sentences(at) {
		if !strings.HasPrefix(s, want[i]) {
			t.Errorf("sentence %d is %s, want %s", i, s, want[i])
		}
	}
}

func TestChecksummed(t *testing.T) {
	// The example that most descriptions of NMEA 0183 have.
	const want = "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47"
	if got := checksummed(want[1 : len(want)-3]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDegrees(t *testing.T) {
	for _, c := range []struct {
		angle  float64
		digits int
		want   string
	}{
		{53.5415, 2, "5332.4900"},
		{9.9842, 3, "00959.0520"},
		{0, 2, "0000.0000"},
		{0.5, 3, "00030.0000"},
		{9.999999999, 3, "01000.0000"}, // never 60 minutes
	} {
		if got := degrees(c.angle, c.digits); got != c.want {
			t.Errorf("%v degrees are %s, want %s", c.angle, got, c.want)
		}
	}
}

// A device that nobody reads waits in Write; the end of its context must reach it there.
func TestGPSEndsWhileNobodyReads(t *testing.T) {
	p := openPty(t)
	if err := p.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(everyByte(400)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Write gives %v where the port's buffer should be full", err)
	}
	if err := p.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := run(t, GPS{Pty: p}.Run)(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestEcho(t *testing.T) {
	p := openPty(t)
	port := openPort(t, p.Path())
	stop := run(t, Echo{Pty: p}.Run)
	for _, line := range []string{"hello\n", "\n", "carriage\r\n", "\x00\x03\x04\x11\x13\xff\x7f\n", "two\nlines\n"} {
		write(t, port, []byte(line))
		expect(t, port, []byte(line))
	}
	// A line that comes in pieces is one; what has no end yet is not answered.
	for _, piece := range []string{"pie", "", "ces", " of\r", "\nbegun"} {
		if _, err := port.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, port, []byte("pieces of\r\n"))
	if _, err := port.Write([]byte(" and ended\n")); err != nil {
		t.Fatal(err)
	}
	expect(t, port, []byte("begun and ended\n"))
	long := append(bytes.Repeat([]byte("long "), 20000), '\n')
	write(t, port, long)
	expect(t, port, long)
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Guards against deadlines that outlive Run: the next one would end at once.
func TestPtyIsPlayedAgain(t *testing.T) {
	p := openPty(t)
	port := openPort(t, p.Path())
	for range 3 {
		stop := run(t, Echo{Pty: p}.Run)
		write(t, port, []byte("again\n"))
		expect(t, port, []byte("again\n"))
		if err := stop(); err != nil {
			t.Fatalf("Run: %v", err)
		}
	}
}

func TestUnpluggedDeviceSaysSo(t *testing.T) {
	for name, device := range map[string]func(*Pty) func(context.Context) error{
		"gps":  func(p *Pty) func(context.Context) error { return GPS{Pty: p, Interval: time.Hour}.Run },
		"echo": func(p *Pty) func(context.Context) error { return Echo{Pty: p}.Run },
	} {
		t.Run(name, func(t *testing.T) {
			p := openPty(t)
			done := make(chan error, 1)
			go func() { done <- device(p)(context.Background()) }()
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-done:
				if !errors.Is(err, os.ErrClosed) {
					t.Errorf("Run: %v, want os.ErrClosed", err)
				}
			case <-time.After(limit):
				t.Fatal("the device goes on")
			}
		})
	}
}
