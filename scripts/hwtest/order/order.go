// Package order is what the guest of the hardware tests asks of the host, and what the host answers: JSON documents,
// one on a line, over a virtio-serial port, which is none of the ports under test.
package order

import "time"

// Port is a name of GuestPort in the virtio bus, see /sys/class/virtio-ports.
const Port = "serialvisor.orders"

// The other ends that the host holds.
const (
	UART = "uart" // of ttyS1, a 16550A
	FTDI = "ftdi" // of ttyUSB0
)

// What the host can be asked to do.
const (
	Say     = "say"     // write lines PREFIX-000001 to Last, or with Last 0 one each Pause until Quiet
	Quiet   = "quiet"   // stop saying; the answer's N is the number of the last line
	Heard   = "heard"   // the answer's Lines are what came since Forget
	Forget  = "forget"  // forget what came
	Hold    = "hold"    // read nothing any more
	Release = "release" // read again
	Echo    = "echo"    // send every line back until Mute
	Mute    = "mute"    // end Echo
	Break   = "break"   // let a break come in
	Unplug  = "unplug"  // take the USB adapter away
	Plug    = "plug"    // put it back
	Trace   = "trace"   // begin to record what the kernel does to the chips
	Traced  = "traced"  // end it; the answer's Lines are the record
	Reset   = "reset"   // end all that was begun, and plug the adapter in
	Report  = "report"  // print the outcome of a check
	End     = "end"     // all checks were made
)

// Verdicts of a Report.
const (
	Passed = "passed"
	Failed = "FAILED"
)

// Order is a line from the guest. Which fields count depends on Do.
type Order struct {
	Do      string
	Port    string        `json:",omitempty"`
	Prefix  string        `json:",omitempty"` // Say
	Last    int           `json:",omitempty"` // Say
	Pause   time.Duration `json:",omitempty"` // Say: between two lines
	Verdict string        `json:",omitempty"` // Report
	Check   string        `json:",omitempty"` // Report
	Text    string        `json:",omitempty"` // Report
}

// Answer is the line that answers an Order.
type Answer struct {
	Error string   `json:",omitempty"`
	N     int      `json:",omitempty"`
	Lines []string `json:",omitempty"`
}
