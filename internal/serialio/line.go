// Package serialio owns what touches a serial device: opening and configuring it once, locking it, the descriptors that
// workers borrow, its modem lines, and noticing that it is gone. It knows nothing of frames or messages.
package serialio

import (
	"fmt"
	"strconv"
	"strings"
)

// Settings are all that is set when a port opens.
type Settings struct {
	Line LineSettings
	// DTR and RTS say how the modem lines stand after opening. The kernel raises both in open(2), before anything can be
	// asked of it.
	DTR, RTS Level
	// LowLatency asks the driver to pass received bytes on at once; for an FTDI adapter it is a latency timer of 1 ms
	// instead of 16. Drivers that have no such mode ignore it.
	LowLatency bool
	RS485      RS485
}

// LineSettings are how a port's bits stand on the line.
type LineSettings struct {
	Baud        int    // bits per second, 1 to MaxBaud
	DataBits    int    // 5 to 8
	Parity      string // ParityNone …
	StopBits    string // StopOne …
	FlowControl string // FlowNone …
}

// MaxBaud is above what any UART does, and below what is a mistake.
const MaxBaud = 50_000_000

// Values of LineSettings.Parity.
const (
	ParityNone  = "none"
	ParityOdd   = "odd"
	ParityEven  = "even"
	ParityMark  = "mark"  // always 1
	ParitySpace = "space" // always 0
)

// Values of LineSettings.StopBits.
const (
	StopOne        = "1"
	StopOneAndHalf = "1.5" // what a UART does for two stop bits behind five data bits
	StopTwo        = "2"
)

// Values of LineSettings.FlowControl.
const (
	FlowNone    = "none"
	FlowRTSCTS  = "rtscts"
	FlowXONXOFF = "xonxoff"
)

// Level is what is done to a modem line after opening.
type Level string

// The levels.
const (
	On   Level = "on"
	Off  Level = "off"
	Keep Level = "keep" // as the driver left it
)

// RS485 is the half-duplex mode in which the driver itself switches the transceiver by RTS.
type RS485 struct {
	Enabled       bool
	RTSOnSend     bool // RTS is on while sending, else off
	DelayBeforeMS int  // from RTS to the first bit
	DelayAfterMS  int  // from the last bit to RTS
}

// DefaultLine is what is set when nothing is asked for.
func DefaultLine() LineSettings {
	return LineSettings{Baud: 115200, DataBits: 8, Parity: ParityNone, StopBits: StopOne, FlowControl: FlowNone}
}

// DefaultSettings is what is set when nothing is asked for.
func DefaultSettings() Settings {
	return Settings{Line: DefaultLine(), DTR: On, RTS: On, LowLatency: true, RS485: RS485{RTSOnSend: true}}
}

var parityLetters = map[string]string{ParityNone: "N", ParityOdd: "O", ParityEven: "E", ParityMark: "M", ParitySpace: "S"}

// String gives the usual notation: "9600 8N1", and the flow control if there is one.
func (s LineSettings) String() string {
	text := strconv.Itoa(s.Baud) + " " + strconv.Itoa(s.DataBits) + parityLetters[s.Parity] + s.StopBits
	if s.FlowControl != FlowNone {
		text += " " + s.FlowControl
	}
	return text
}

// Set changes one setting, named as in a config: baud, data_bits, parity, stop_bits or flow_control. The error says what
// would be right.
func (s *LineSettings) Set(name, value string) error {
	switch name {
	case "baud":
		v, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is not a baud rate; use a number such as 9600 or 115200", value)
		}
		if v < 1 || v > MaxBaud {
			return fmt.Errorf("%d is no baud rate; it can be from 1 to %d", v, MaxBaud)
		}
		s.Baud = v
	case "data_bits":
		v, err := strconv.Atoi(value)
		if err != nil || v < 5 || v > 8 {
			return fmt.Errorf("%q is not a whole number from 5 to 8", value)
		}
		s.DataBits = v
	case "parity":
		return choose(&s.Parity, value, ParityNone, ParityOdd, ParityEven, ParityMark, ParitySpace)
	case "stop_bits":
		return choose(&s.StopBits, value, StopOne, StopOneAndHalf, StopTwo)
	case "flow_control":
		return choose(&s.FlowControl, value, FlowNone, FlowRTSCTS, FlowXONXOFF)
	default:
		return fmt.Errorf("there is no line setting %q", name)
	}
	return nil
}

// SettingNames are the names that Set takes.
var SettingNames = []string{"baud", "data_bits", "parity", "stop_bits", "flow_control"}

func choose(to *string, value string, words ...string) error {
	for _, w := range words {
		if w == value {
			*to = w
			return nil
		}
	}
	last := len(words) - 1
	return fmt.Errorf("%q is not known; use %s or %s", value, strings.Join(words[:last], ", "), words[last])
}

// Validate finds settings that are right each and wrong together.
func (s LineSettings) Validate() error {
	switch {
	case s.StopBits == StopOneAndHalf && s.DataBits != 5:
		return fmt.Errorf("1.5 stop bits go with data_bits: 5 alone; use 1 or 2")
	case s.StopBits == StopTwo && s.DataBits == 5:
		return fmt.Errorf("with data_bits: 5 a second stop bit is half a one; use 1.5")
	}
	return nil
}
