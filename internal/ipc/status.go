package ipc

import (
	"encoding/json"
	"time"
)

// State of a port.
type State string

// The states of a port. Every one but open and closed is left by itself as soon as the device allows.
const (
	Open    State = "open"    // opened, configured and locked; reader and writer run
	Missing State = "missing" // there is no such device now
	Busy    State = "busy"    // another program has locked the device
	Failed  State = "failed"  // the device is there and cannot be used; Error says why
	Closed  State = "closed"  // the supervisor has let go of it
)

// PortState is the payload of <root>.<port>.state.
type PortState struct {
	Port    string    `json:"port"`
	State   State     `json:"state"`
	Time    time.Time `json:"time"`
	Device  string    `json:"device"`
	Session string    `json:"session,omitempty"` // of the frames that follow; only with state open
	Error   string    `json:"error"`
	// LostHistory counts the frames, received and sent, that the history lacks. A state is published again when it changes.
	LostHistory uint64 `json:"lost_history,omitempty"`
}

// WorkerState is where a worker is in its life.
type WorkerState string

// The states of a worker process.
const (
	WorkerStarting WorkerState = "starting" // the process has not said READY=1, or waits for others to be ready before it exists
	WorkerRunning  WorkerState = "running"
	WorkerStopping WorkerState = "stopping"
	WorkerStopped  WorkerState = "stopped" // nothing to do: its port is not open, or it is not to run
	WorkerBackoff  WorkerState = "backoff" // died, and waits to be started again
	WorkerFailed   WorkerState = "failed"  // ended with an error, and its restart policy leaves it at that
)

// What may be asked of a worker of the user's own, see Subjects.Worker. The answer is its WorkerStatus.
const (
	StartWorker   = "start"
	StopWorker    = "stop"
	RestartWorker = "restart"
)

// WorkerActions lists all of that.
var WorkerActions = []string{StartWorker, StopWorker, RestartWorker}

// Status is what a running supervisor says of itself.
type Status struct {
	Name          string         `json:"name"`
	Version       string         `json:"version"`
	PID           int            `json:"pid"`
	Ready         bool           `json:"ready"`
	NotReady      []string       `json:"not_ready,omitempty"` // why not, a line for each reason
	Started       time.Time      `json:"started"`             // an upgraded supervisor is another one than before, in the same process
	UptimeSeconds float64        `json:"uptime_seconds"`
	Broker        BrokerStatus   `json:"broker"`
	MetricsURL    string         `json:"metrics_url,omitempty"` // where /metrics, /healthz and /readyz are
	Leaf          *LeafStatus    `json:"leaf,omitempty"`        // nil: there is no hub
	Ports         []PortStatus   `json:"ports"`
	Workers       []WorkerStatus `json:"workers"`
}

// BrokerStatus says where the embedded broker listens, and whether it can store.
type BrokerStatus struct {
	URL        string     `json:"url"`
	Store      StoreState `json:"store"`
	StoreError string     `json:"store_error,omitempty"` // why it does not store
}

// StoreState says whether the histories and queues on files take anything in.
type StoreState string

// The states of the store. Live traffic goes on in all of them, and the store comes back by itself.
const (
	StoreOK     StoreState = "ok"
	StoreFull   StoreState = "full"   // there is no room
	StoreFailed StoreState = "failed" // it cannot be written, or does not answer
)

// PortStatus is one port in a Status.
type PortStatus struct {
	Name       string          `json:"name"`
	Device     string          `json:"device"`
	State      State           `json:"state"`
	Line       string          `json:"line"`    // "9600 8N1": as set by the driver while the port is open, else as configured
	Framing    json.RawMessage `json:"framing"` // of received frames, as in the config; delimiters in base64, durations in ns
	Session    string          `json:"session"`
	Since      time.Time       `json:"since"`
	Error      string          `json:"error"`
	Rx         RxStatus        `json:"rx"`
	Tx         TxStatus        `json:"tx"`
	LineErrors LineErrors      `json:"line_errors"`
	Lease      *LeaseStatus    `json:"lease,omitempty"` // nil: everybody may write

	LineChanged bool        `json:"line_changed,omitempty"` // by a control request, until the port opens again
	LowLatency  bool        `json:"low_latency"`            // whether the driver has that mode, and it is on
	Modem       *ModemLines `json:"modem,omitempty"`        // nil where the driver has none, and while the port is not open
}

// RxStatus counts what a port has received since the supervisor started.
type RxStatus struct {
	Bytes       uint64 `json:"bytes"`
	Frames      uint64 `json:"frames"`
	LostHistory uint64 `json:"lost_history"` // frames that went to live taps and are not in the history
	LostForward uint64 `json:"lost_forward"` // frames that forward_to could not queue
}

// TxStatus counts what was sent through a port since the supervisor started.
type TxStatus struct {
	Bytes   uint64 `json:"bytes"`
	Frames  uint64 `json:"frames"`
	Queued  uint64 `json:"queued"` // frames that wait in the queue now
	Expired uint64 `json:"expired"`

	LostHistory uint64 `json:"lost_history"` // frames sent or expired that are not in the history

	// QueueID stands for the queue in the ids of what is sent from it. One that came to be in its place has another. It is
	// empty until the port has opened, and without a queue.
	QueueID string `json:"queue_id,omitempty"`
}

// ModemLines are the lines beside data; DTR and RTS are ours, the others the device's.
type ModemLines struct {
	DTR bool `json:"dtr"`
	RTS bool `json:"rts"`
	CTS bool `json:"cts"`
	DSR bool `json:"dsr"`
	DCD bool `json:"dcd"`
	RI  bool `json:"ri"`
}

// LineErrors are the driver's error counters since the port opened, zero where the driver has none.
type LineErrors struct {
	Overrun uint64 `json:"overrun"`
	Framing uint64 `json:"framing"`
	Parity  uint64 `json:"parity"`
	Break   uint64 `json:"break"`
}

// WorkerStatus is one process in a Status. Built-in workers are named <port>/reader and <port>/writer.
type WorkerStatus struct {
	Name     string      `json:"name"`
	PID      int         `json:"pid"`
	State    WorkerState `json:"state"`
	Restarts uint64      `json:"restarts"`
	Since    time.Time   `json:"since"`
	LastExit string      `json:"last_exit"` // "exit 1", "signal: killed"
	// Message is what the worker says of itself by STATUS=, or what it waits for.
	Message string `json:"message,omitempty"`
}
