package serialio

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Every line setting becomes bits of a struct termios2 and is read back from them.
func TestTermiosRoundTrip(t *testing.T) {
	for _, baud := range []int{1, 45, 9600, 31250, 250000, 12_000_000} {
		for bits := 5; bits <= 8; bits++ {
			for parity := range parityLetters {
				for _, stop := range []string{StopOne, StopOneAndHalf, StopTwo} {
					for _, flow := range []string{FlowNone, FlowRTSCTS, FlowXONXOFF} {
						s := LineSettings{baud, bits, parity, stop, flow}
						if s.Validate() != nil {
							continue
						}
						// What was set before does not shine through.
						termios := unix.Termios{Iflag: ^uint32(0), Oflag: ^uint32(0), Lflag: ^uint32(0), Cflag: ^uint32(0)}
						s.encode(&termios)
						if got := decodeLine(&termios); got != s {
							t.Errorf("%s became %s", s, got)
						}
						if termios.Cflag&unix.HUPCL != 0 || termios.Cc[unix.VSTART] != 0x11 || termios.Cc[unix.VSTOP] != 0x13 {
							t.Errorf("%s: cflag %#x, cc %v", s, termios.Cflag, termios.Cc)
						}
					}
				}
			}
		}
	}
}

func TestNear(t *testing.T) {
	want := LineSettings{250000, 8, ParityNone, StopOne, FlowNone}
	for baud, near := range map[int]bool{250000: true, 245000: true, 255000: true, 244999: false, 255001: false, 115200: false} {
		have := want
		have.Baud = baud
		if have.near(want) != near {
			t.Errorf("%d for 250000: near is %t", baud, !near)
		}
	}
	have := want
	have.Parity = ParityEven
	if have.near(want) {
		t.Error("another parity is called near")
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct{ name, value, want, problem string }{
		{"baud", "31250", "31250 8N1", ""},
		{"baud", "0", "", "0 is no baud rate; it can be from 1 to 50000000"},
		{"baud", "-9600", "", "-9600 is no baud rate; it can be from 1 to 50000000"},
		{"baud", "9k6", "", `"9k6" is not a baud rate; use a number such as 9600 or 115200`},
		{"data_bits", "7", "115200 7N1", ""},
		{"data_bits", "9", "", `"9" is not a whole number from 5 to 8`},
		{"parity", "mark", "115200 8M1", ""},
		{"parity", "space", "115200 8S1", ""},
		{"parity", "Even", "", `"Even" is not known; use none, odd, even, mark or space`},
		{"stop_bits", "1.5", "115200 8N1.5", ""},
		{"stop_bits", "0", "", `"0" is not known; use 1, 1.5 or 2`},
		{"flow_control", "rtscts", "115200 8N1 rtscts", ""},
		{"flow_control", "", "", `"" is not known; use none, rtscts or xonxoff`},
		{"colour", "red", "", `there is no line setting "colour"`},
	} {
		s := DefaultLine()
		err := s.Set(c.name, c.value)
		switch {
		case c.problem != "":
			if err == nil || err.Error() != c.problem || s != DefaultLine() {
				t.Errorf("%s=%s: %v, %s; want %s", c.name, c.value, err, s, c.problem)
			}
		case err != nil || s.String() != c.want:
			t.Errorf("%s=%s: %v, %s; want %s", c.name, c.value, err, s, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		bits int
		stop string
		good bool
	}{{5, StopOne, true}, {5, StopOneAndHalf, true}, {5, StopTwo, false}, {6, StopOneAndHalf, false}, {8, StopOneAndHalf, false}, {8, StopTwo, true}} {
		s := DefaultLine()
		s.DataBits, s.StopBits = c.bits, c.stop
		if err := s.Validate(); (err == nil) != c.good {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// A driver's counters start over when it is loaded again.
func TestLineErrorsSince(t *testing.T) {
	now := LineErrors{Overrun: 5, Framing: 2, Parity: 1, Break: 0}
	if got, want := now.since(LineErrors{Overrun: 3, Framing: 2, Parity: 4}), (LineErrors{Overrun: 2, Framing: 0, Parity: 1}); got != want {
		t.Errorf("since is %+v, want %+v", got, want)
	}
}
