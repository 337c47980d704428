package ipc

// Keys of a control request, beside the line settings baud, data_bits, parity, stop_bits and flow_control. The request
// is a JSON object of keys and values; none asks how the line stands.
const (
	ControlDTR   = "dtr"   // on, off
	ControlRTS   = "rts"   // on, off
	ControlBreak = "break" // a duration
	ControlFlush = "flush" // in, out, both
)

// ControlReply answers a control request: how the line stands after it. One that is refused has the headers
// HeaderErrorCode and HeaderError instead, and nothing was changed.
type ControlReply struct {
	Port        string      `json:"port"`
	Device      string      `json:"device"`
	Baud        int         `json:"baud"`
	DataBits    int         `json:"data_bits"`
	Parity      string      `json:"parity"`
	StopBits    string      `json:"stop_bits"`
	FlowControl string      `json:"flow_control"`
	Modem       *ModemLines `json:"modem,omitempty"` // nil where the driver has none
	LineErrors  LineErrors  `json:"line_errors"`
	Unread      int         `json:"unread"` // bytes received that the reader has not taken yet
	Unsent      int         `json:"unsent"` // bytes written that the device has not taken yet
	// Note says how long a changed line setting lasts.
	Note string `json:"note,omitempty"`
}

// Error codes of answers.
const (
	CodeBadRequest  = 400 // a key, header or value that does not exist
	CodeForbidden   = 403 // the token is not that of the lease
	CodeNotOpen     = 409 // the port is not open
	CodeLeased      = 423 // another client has a lease
	CodeFailed      = 500
	CodeUnsupported = 501 // the driver does not have it, or has set something else
	CodeBusy        = 503 // the port is closing, or too much waits
	CodeTimeout     = 504 // the driver or the device has not answered, or it was not the request's turn
)

// ReloadRequest is the payload of a request on Subjects.Reload; it may be empty.
type ReloadRequest struct {
	DryRun bool `json:"dry_run,omitempty"` // say what would change, and change nothing
}

// ReloadReply says what a new config has changed: "port gps", "worker logger", or the key of a setting. What is not named was not
// touched. A config with mistakes changes nothing, and is answered with an error.
type ReloadReply struct {
	Started     []string `json:"started"`
	Stopped     []string `json:"stopped"`
	Restarted   []string `json:"restarted"`
	Changed     []string `json:"changed"`       // in place
	AtNextStart []string `json:"at_next_start"` // when the supervisor starts again
}

// PubAck is the answer to a frame on tx: a stream's, or a writer's of a port without a queue, which has the same form so that
// a sender need not know the difference.
type PubAck struct {
	Stream   string    `json:"stream"`            // NoQueue of a port without one
	Sequence uint64    `json:"seq"`               // 0: the frame was neither stored nor begun
	Session  string    `json:"session,omitempty"` // in which the sequence counts, without a queue
	Error    *AckError `json:"error,omitempty"`
}

// AckError says why a frame was not taken.
type AckError struct {
	Code        int    `json:"code"`               // as of HTTP
	JetStream   int    `json:"err_code,omitempty"` // a stream's reason, such as QueueFull; 0: a writer says it
	Description string `json:"description"`
}

// NoQueue is PubAck.Stream of a port without a queue.
const NoQueue = "none"

// QueueFull is JetStream's JSStreamStoreFailed, which a stream at its limit answers.
const QueueFull = 10077
