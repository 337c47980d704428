// Package serialio owns what touches a serial device: opening and configuring it once, locking it, the descriptors that
// workers borrow, and noticing that it is gone. It knows nothing of frames or messages.
package serialio

import "strconv"

// LineSettings are how a port's bits stand on the line.
type LineSettings struct {
	Baud     int    // bits per second
	DataBits int    // 5 to 8
	Parity   string // ParityNone, ParityOdd, ParityEven
	StopBits int    // 1 or 2
}

// Values of LineSettings.Parity.
const (
	ParityNone = "none"
	ParityOdd  = "odd"
	ParityEven = "even"
)

// String gives the usual notation: "9600 8N1".
func (s LineSettings) String() string {
	parity := map[string]string{ParityNone: "N", ParityOdd: "O", ParityEven: "E"}[s.Parity]
	return strconv.Itoa(s.Baud) + " " + strconv.Itoa(s.DataBits) + parity + strconv.Itoa(s.StopBits)
}
