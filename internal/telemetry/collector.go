package telemetry

import (
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Snapshot is how all of a gateway stands at one time.
type Snapshot struct {
	Status      ipc.Status
	Broker      broker.Figures
	History     *History         // nil: none is kept
	QueueLimits map[string]int64 // of frames, by port; without those that have no queue
}

// History is how much the history holds, and may hold.
type History struct {
	broker.HistoryFigures
	MaxAge   time.Duration // 0: any
	MaxBytes int64
}

// metric is one name under which figures are given.
type metric struct {
	name, help string
	kind       dto.MetricType
	labels     []string
	place      int // in all
}

// all are the metrics there are.
var all []*metric

func gauge(name, help string, labels ...string) *metric {
	return newMetric(dto.MetricType_GAUGE, name, help, labels)
}

func counter(name, help string, labels ...string) *metric {
	return newMetric(dto.MetricType_COUNTER, name, help, labels)
}

func newMetric(kind dto.MetricType, name, help string, labels []string) *metric {
	m := &metric{"serialvisor_" + name, help, kind, labels, len(all)}
	all = append(all, m)
	return m
}

// The labels have values from the config alone: ports, workers, and what is listed here. docs/metrics.md explains each.
var (
	buildInfo = gauge("build_info", "Always 1; the labels tell what runs.", "version", "goversion")
	ready     = gauge("ready", "Whether the gateway does all it could; /readyz says why not.")

	portRxBytes      = counter("port_received_bytes_total", "Bytes received from the device.", "port")
	portRxFrames     = counter("port_received_frames_total", "Frames received from the device.", "port")
	portTxBytes      = counter("port_sent_bytes_total", "Bytes written to the device.", "port")
	portTxFrames     = counter("port_sent_frames_total", "Frames written to the device.", "port")
	portLostHistory  = gauge("port_lost_history_frames", "Frames that the history lacks; fewer if it stores some late after all.", "port", "direction")
	portLostForward  = counter("port_lost_forward_frames_total", "Received frames that forward_to could not queue.", "port")
	portExpired      = counter("port_expired_frames_total", "Frames that were queued and then not sent.", "port")
	portQueued       = gauge("port_queued_frames", "Frames that wait to be sent, those in the writer's hands included.", "port")
	portQueueLimit   = gauge("port_queue_limit_frames", "Frames that may wait; ports without a queue have none.", "port")
	portState        = gauge("port_state", "1 for the state that the port is in, else 0.", "port", "state")
	portStateSince   = gauge("port_state_timestamp_seconds", "When the port came into its state.", "port")
	portSessionStart = gauge("port_session_start_timestamp_seconds", "When the device was opened; only while it is open.", "port")
	portLineErrors   = counter("port_line_errors_total", "Errors that the driver has counted since the device was opened.", "port", "kind")
	portLeased       = gauge("port_leased", "Whether a client alone may write.", "port")

	workerUp       = gauge("worker_up", "Whether the worker runs and has said that it is ready.", "worker")
	workerState    = gauge("worker_state", "1 for the state that the worker is in, else 0.", "worker", "state")
	workerRestarts = counter("worker_restarts_total", "How often the worker was started again after it had ended.", "worker")
	workerStart    = gauge("worker_start_timestamp_seconds", "When the worker's process was started; only while there is one.", "worker")
	workerResident = gauge("worker_resident_memory_bytes", "Memory of the worker's process, what it shares with others included.", "worker")
	workerCPU      = counter("worker_cpu_seconds_total", "Processor time of the worker's process.", "worker")

	storeState      = gauge("store_state", "1 for the state that histories and queues on files are in, else 0.", "state")
	historyMessages = gauge("history_messages", "Messages in the history.")
	historyBytes    = gauge("history_bytes", "Size of the history.")
	historyFirst    = gauge("history_first_timestamp_seconds", "When the oldest message in the history was stored.")
	historyLast     = gauge("history_last_timestamp_seconds", "When the newest message in the history was stored.")
	historyMaxBytes = gauge("history_limit_bytes", "What the history's size is kept below.")
	historyMaxAge   = gauge("history_limit_age_seconds", "How old messages in the history may become; 0: any age.")

	leafConnected = gauge("leaf_connected", "Whether the gateway is connected with its hub; only with broker.leaf.")
	leafBehind    = gauge("leaf_behind_messages", "Messages in the history that the hub has not stored, as far as that is known.")
	leafLost      = counter("leaf_lost_messages_total", "Messages that the hub will never have.")

	brokerConnections   = gauge("broker_connections", "Clients that are connected, workers and the supervisor included.", "account")
	brokerSubscriptions = gauge("broker_subscriptions", "Subscriptions, those of the broker's own included.", "account")
	brokerInMessages    = counter("broker_received_messages_total", "Messages that the broker received from clients.", "account")
	brokerInBytes       = counter("broker_received_bytes_total", "Bytes of messages that the broker received from clients.", "account")
	brokerOutMessages   = counter("broker_sent_messages_total", "Messages that the broker sent to clients.", "account")
	brokerOutBytes      = counter("broker_sent_bytes_total", "Bytes of messages that the broker sent to clients.", "account")
	brokerSlow          = counter("broker_slow_consumers_total", "Clients that were cut off as they did not keep up.")
)

var (
	portStates   = []ipc.State{ipc.Open, ipc.Missing, ipc.Busy, ipc.Failed, ipc.Closed}
	workerStates = []ipc.WorkerState{ipc.WorkerStarting, ipc.WorkerRunning, ipc.WorkerStopping, ipc.WorkerStopped, ipc.WorkerBackoff, ipc.WorkerFailed}
	storeStates  = []ipc.StoreState{ipc.StoreOK, ipc.StoreFull, ipc.StoreFailed}
)

// collector takes one snapshot each time that somebody asks, and counts nothing itself. It is no prometheus.Collector: what
// a registry does for one, which compares and sorts all that it says, takes longer than the rest (see BenchmarkScrape).
type collector struct {
	source Source
	others prometheus.Gatherer
	spare  sync.Pool // of *out
}

func newCollector(source Source, others prometheus.Gatherer) *collector {
	return &collector{source: source, others: others, spare: sync.Pool{New: func() any { return newOut() }}}
}

// Gather implements prometheus.TransactionalGatherer.
func (c *collector) Gather() (families []*dto.MetricFamily, done func(), err error) {
	o := c.spare.Get().(*out)
	o.snapshot(c.source.Snapshot())
	for _, f := range o.families {
		if len(f.Metric) > 0 {
			families = append(families, f)
		}
	}
	others, err := c.others.Gather()
	return append(families, others...), func() {
		o.clear()
		c.spare.Put(o)
	}, err
}

// out is where figures go. It is used again and again, as it is large.
type out struct {
	families []*dto.MetricFamily // as all
	figures  []*figure
	used     int
}

// figure is one value with all that belongs to it.
type figure struct {
	metric  dto.Metric
	gauge   dto.Gauge
	counter dto.Counter
	value   float64
	labels  [2]dto.LabelPair
	pairs   [2]*dto.LabelPair
	texts   [2]string
}

func newOut() *out {
	o := &out{families: make([]*dto.MetricFamily, len(all))}
	for i, m := range all {
		o.families[i] = &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: &m.kind}
	}
	return o
}

func (o *out) clear() {
	for _, f := range o.families {
		f.Metric = f.Metric[:0]
	}
	o.used = 0
}

// next is a figure to be filled in.
func (o *out) next() *figure {
	if o.used == len(o.figures) {
		f := &figure{}
		for i := range f.labels {
			f.pairs[i], f.labels[i].Value = &f.labels[i], &f.texts[i]
		}
		f.gauge.Value, f.counter.Value = &f.value, &f.value
		o.figures = append(o.figures, f)
	}
	o.used++
	return o.figures[o.used-1]
}

func (o *out) put(m *metric, value float64, labels ...string) {
	f := o.next()
	f.value = value
	for i := range labels {
		f.labels[i].Name, f.texts[i] = &m.labels[i], labels[i]
	}
	f.metric.Label = f.pairs[:len(labels)]
	f.metric.Gauge, f.metric.Counter = &f.gauge, nil
	if m.kind == dto.MetricType_COUNTER {
		f.metric.Gauge, f.metric.Counter = nil, &f.counter
	}
	family := o.families[m.place]
	family.Metric = append(family.Metric, &f.metric)
}

// time puts a time, if there is one.
func (o *out) time(m *metric, t time.Time, labels ...string) {
	if !t.IsZero() {
		o.put(m, float64(t.UnixNano())/1e9, labels...)
	}
}

// oneOf puts 1 for one of some states, which are the last label, and 0 for the others.
func oneOf[S ~string](o *out, m *metric, states []S, now S, labels ...string) {
	for _, s := range states {
		o.put(m, truth(s == now), append(labels, string(s))...)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (o *out) snapshot(s Snapshot) {
	o.put(buildInfo, 1, s.Status.Version, runtime.Version())
	o.put(ready, truth(s.Status.Ready))
	for _, p := range s.Status.Ports {
		o.port(p)
		if limit, queue := s.QueueLimits[p.Name]; queue {
			o.put(portQueueLimit, float64(limit), p.Name)
		}
	}
	for _, w := range s.Status.Workers {
		o.worker(w)
	}
	oneOf(o, storeState, storeStates, s.Status.Broker.Store)
	if s.History != nil {
		o.history(s.History)
	}
	if l := s.Status.Leaf; l != nil {
		o.put(leafConnected, truth(l.Connected))
		o.put(leafBehind, float64(l.Behind))
		o.put(leafLost, float64(l.Lost))
	}
	o.broker(s.Broker)
}

func (o *out) port(p ipc.PortStatus) {
	o.put(portRxBytes, float64(p.Rx.Bytes), p.Name)
	o.put(portRxFrames, float64(p.Rx.Frames), p.Name)
	o.put(portTxBytes, float64(p.Tx.Bytes), p.Name)
	o.put(portTxFrames, float64(p.Tx.Frames), p.Name)
	o.put(portLostHistory, float64(p.Rx.LostHistory), p.Name, "received")
	o.put(portLostHistory, float64(p.Tx.LostHistory), p.Name, "sent")
	o.put(portLostForward, float64(p.Rx.LostForward), p.Name)
	o.put(portExpired, float64(p.Tx.Expired), p.Name)
	o.put(portQueued, float64(p.Tx.Queued), p.Name)
	oneOf(o, portState, portStates, p.State, p.Name)
	o.time(portStateSince, p.Since, p.Name)
	if start, err := ipc.SessionStart(p.Session); err == nil && p.State == ipc.Open {
		o.time(portSessionStart, start, p.Name)
	}
	o.put(portLineErrors, float64(p.LineErrors.Overrun), p.Name, "overrun")
	o.put(portLineErrors, float64(p.LineErrors.Framing), p.Name, "framing")
	o.put(portLineErrors, float64(p.LineErrors.Parity), p.Name, "parity")
	o.put(portLineErrors, float64(p.LineErrors.Break), p.Name, "break")
	o.put(portLeased, truth(p.Lease != nil), p.Name)
}

func (o *out) worker(w ipc.WorkerStatus) {
	o.put(workerUp, truth(w.State == ipc.WorkerRunning), w.Name)
	oneOf(o, workerState, workerStates, w.State, w.Name)
	o.put(workerRestarts, float64(w.Restarts), w.Name)
	if w.PID == 0 {
		return
	}
	o.time(workerStart, w.Since, w.Name)
	if u, ok := readUsage(w.PID); ok {
		o.put(workerResident, u.resident, w.Name)
		o.put(workerCPU, u.cpu, w.Name)
	}
}

func (o *out) history(h *History) {
	o.put(historyMessages, float64(h.Messages))
	o.put(historyBytes, float64(h.Bytes))
	o.time(historyFirst, h.First)
	o.time(historyLast, h.Last)
	o.put(historyMaxBytes, float64(h.MaxBytes))
	o.put(historyMaxAge, h.MaxAge.Seconds())
}

func (o *out) broker(f broker.Figures) {
	for _, a := range f.Accounts {
		account := string(a.Account)
		o.put(brokerConnections, float64(a.Connections), account)
		o.put(brokerSubscriptions, float64(a.Subscriptions), account)
		o.put(brokerInMessages, float64(a.Received.Msgs), account)
		o.put(brokerInBytes, float64(a.Received.Bytes), account)
		o.put(brokerOutMessages, float64(a.Sent.Msgs), account)
		o.put(brokerOutBytes, float64(a.Sent.Bytes), account)
	}
	o.put(brokerSlow, float64(f.SlowConsumers))
}
