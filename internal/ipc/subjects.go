// Package ipc is the contract between serialvisor's processes, and with everybody else on the broker: subjects, headers,
// messages, a worker's environment and descriptors, and the memory that a port's processes share.
package ipc

import "strings"

// DefaultRoot is the first token of all subjects unless the config says otherwise.
const DefaultRoot = "serial"

// Supervisor is the reserved port name under which the supervisor's own endpoints live.
const Supervisor = "supervisor"

// Subjects builds the subjects of one gateway below a root such as "serial" or "plant1.serial".
type Subjects struct{ Root string }

// Rx is where the reader of a port publishes the frames it received.
func (s Subjects) Rx(port string) string { return s.Root + "." + port + ".rx" }

// Tx is where anybody with role send publishes frames for the device.
func (s Subjects) Tx(port string) string { return s.Root + "." + port + ".tx" }

// Sent is where the writer of a port publishes the frames that the kernel has taken.
func (s Subjects) Sent(port string) string { return s.Root + "." + port + ".sent" }

// State is where the supervisor publishes a PortState at every change.
func (s Subjects) State(port string) string { return s.Root + "." + port + ".state" }

// Expired is where frames are published that were accepted and then could not be sent.
func (s Subjects) Expired(port string) string { return s.Root + "." + port + ".expired" }

// Again is where a reader or writer publishes once more what the history has lost: it is stored as on its first subject,
// and does not come to live taps a second time.
func (s Subjects) Again(first string) string { return first + ".again" }

// Request is where anybody with role send writes a frame and gets the device's answer.
func (s Subjects) Request(port string) string { return s.Root + "." + port + ".request" }

// Lease is the request subject of the right to be the only one that writes to a port.
func (s Subjects) Lease(port string) string { return s.Root + "." + port + ".lease" }

// Leased is where the supervisor tells a port's writer that the lease has changed.
func (s Subjects) Leased(port string) string { return s.Root + "." + port + ".leased" }

// Control is the request subject of a port's line: settings, modem lines, break, flush.
func (s Subjects) Control(port string) string { return s.Root + "." + port + ".control" }

// Status is the request subject that answers with a Status.
func (s Subjects) Status() string { return s.Root + "." + Supervisor + ".status" }

// Worker is the request subject by which a worker is started, stopped or restarted.
func (s Subjects) Worker(name, action string) string {
	return s.Root + "." + Supervisor + ".worker." + name + "." + action
}

// Reload is the request subject by which the supervisor takes its config over anew.
func (s Subjects) Reload() string { return s.Root + "." + Supervisor + ".reload" }

// Upgrade is the request subject by which the supervisor ends for the program that now stands where its own stood.
func (s Subjects) Upgrade() string { return s.Root + "." + Supervisor + ".upgrade" }

// WorkerLog is where the supervisor publishes what a worker prints, line by line.
func (s Subjects) WorkerLog(name string) string { return s.Root + "." + Supervisor + ".log." + name }

// Port is what the subjects of a port begin with.
func (s Subjects) Port(port string) string { return s.Root + "." + port }

// Watched lists the wildcard subjects of all ports that a tap may follow live, in the order rx, sent, state, expired.
func (s Subjects) Watched() []string { return s.WatchedOf("*") }

// WatchedOf is Watched for one port.
func (s Subjects) WatchedOf(port string) []string {
	return []string{s.Rx(port), s.Sent(port), s.State(port), s.Expired(port)}
}

// Unwatched lists, with wildcards, all subjects below the root that nobody may follow: what is asked for, with the tokens and
// reply subjects in it, and what passes between the gateway's own processes.
func (s Subjects) Unwatched() []string {
	list := []string{s.Tx("*"), s.Request("*"), s.Lease("*"), s.Leased("*"), s.Control("*"), s.Status(), s.Worker("*", "*"), s.Reload(), s.Upgrade()}
	for _, first := range s.Watched() {
		list = append(list, s.Again(first))
	}
	return list
}

// IsInbox says whether a reply subject is an inbox, by whatever prefix, or the broker's way to one in another account. Nothing else
// may be answered: within an account whoever answers publishes for the one who asks, who may not publish there himself.
func IsInbox(subject string) bool {
	return strings.HasPrefix(subject, "_INBOX") || strings.HasPrefix(subject, "_R_.")
}

// Split takes a subject below the root apart: "serial.gps.rx" is port "gps", kind "rx".
func (s Subjects) Split(subject string) (port, kind string, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.Root+".")
	if !ok {
		return "", "", false
	}
	port, kind, ok = strings.Cut(rest, ".")
	return port, kind, ok && port != "" && kind != ""
}

// History is the name of the stream with what was received, sent and changed: SERIAL_HISTORY below the default root.
func (s Subjects) History() string { return s.stream("HISTORY") }

// Queue is the name of the work queue stream with the frames to be sent. Ports whose queue settings differ from the
// common ones have a stream of their own, see QueueOf.
func (s Subjects) Queue() string { return s.stream("QUEUE") }

// QueueOf is the name of the work queue stream of a single port.
func (s Subjects) QueueOf(port string) string { return s.stream("QUEUE") + "_" + port }

// stream turns the root into a legal stream name: "plant1.serial" gives PLANT1_SERIAL_….
func (s Subjects) stream(kind string) string {
	return strings.ToUpper(strings.ReplaceAll(s.Root, ".", "_")) + "_" + kind
}
