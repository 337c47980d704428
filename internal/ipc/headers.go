package ipc

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of the messages on rx, tx and sent.
const (
	HeaderTime     = "Serial-Time"      // RFC 3339 with nanoseconds, UTC
	HeaderOffset   = "Serial-Offset"    // of the first byte since the port opened, decimal
	HeaderFlags    = "Serial-Flags"     // partial, continued, gap; comma-joined; absent when there is nothing to say
	HeaderSkipped  = "Serial-Skipped"   // rx, where framing takes delimiters in front of a frame away: how many; frames before it are missing where the offsets leave more room
	HeaderQueueSeq = "Serial-Queue-Seq" // sent: sequence of the frame in the queue, as the sender's PubAck gave it
	HeaderMsgID    = "Nats-Msg-Id"      // <port>.<session>.<offset>, see MessageID; a stream stores each id once
	HeaderReason   = "Serial-Reason"    // expired: why the frame was not sent
)

// HeaderTTL says how long a frame may wait to be sent: a duration or a number of seconds, as JetStream has it.
const HeaderTTL = "Nats-TTL"

// Headers of a frame that was moved from one queue to another. It has HeaderTTL no more, as the server would begin to count anew.
const (
	HeaderQueued    = "Serial-Queued"     // when it was queued first, as HeaderTime
	HeaderQueuedTTL = "Serial-Queued-TTL" // what it had as HeaderTTL
	HeaderMoved     = "Serial-Moved"      // MovedFrom of each queue that it was in, the last one last
)

// MovedFrom names a frame by the place in the queue that it was moved from.
func MovedFrom(queue, sequence uint64) string {
	return QueueToken(queue) + "." + strconv.FormatUint(sequence, 10)
}

// Remembered is how long after a frame was first sent it can be sent again with its HeaderMsgID: queues know ids for 5 s.
const Remembered = 4500 * time.Millisecond

// Headers of requests, and of frames on tx.
const (
	HeaderTimeout = "Serial-Timeout" // how long the device has for its answer
	HeaderFrames  = "Serial-Frames"  // how many frames the answer has; 0: none is waited for
	HeaderUntil   = "Serial-Until"   // a regular expression that the last frame of the answer matches
	HeaderGap     = "Serial-Gap"     // silence that ends the answer
	HeaderSettle  = "Serial-Settle"  // before the frame is written, what comes for so long is no answer
	HeaderLease   = "Serial-Lease"   // the token of who alone may write
)

// RequestHeaders are those that a request may have.
var RequestHeaders = []string{HeaderTimeout, HeaderFrames, HeaderUntil, HeaderGap, HeaderSettle, HeaderLease, HeaderFlags}

// Headers of what a worker has printed, beside HeaderTime.
const (
	HeaderStream = "Serial-Stream" // stdout or stderr
	HeaderLevel  = "Serial-Level"  // DEBUG, INFO, WARN or ERROR
)

// Headers of error replies, as NATS micro services use them.
const (
	HeaderError     = "Nats-Service-Error"
	HeaderErrorCode = "Nats-Service-Error-Code"
)

// FormatTime gives t the form of HeaderTime.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// MessageID names a received frame by where it begins, so that one published twice is stored once. Streams compare
// ids over all their subjects, therefore the port is part of it.
func MessageID(port, session string, offset uint64) string {
	b := make([]byte, 0, len(port)+len(session)+22)
	b = append(b, MessagePrefix(port, session)...)
	return string(strconv.AppendUint(b, offset, 10))
}

// ForwardID names a frame that one port has received in the queue of another. Several queues share a stream, which would
// take the copy for the second of two targets for the first one's again: so the target is part of it, and stands in front as it
// does in the ids of other senders. The key, which nobody outside knows, keeps those from sending frames of their own by the ids
// of frames to come, which would then count as sent already.
func ForwardID(target, port, session, key string, offset uint64) string {
	return target + "." + key + "." + MessageID(port, session, offset)
}

// MessagePrefix is what the ids of all frames of a session begin with; the offset follows.
func MessagePrefix(port, session string) string { return port + "." + session + "." }

// SentID names a frame in the history of what was sent: by its place in the queue, so that a writer that was
// replaced between writing and telling does not tell twice.
func SentID(port, stream string, sequence uint64) string {
	return SentPrefix(port, stream) + strconv.FormatUint(sequence, 10)
}

// QueueToken stands for a queue in the ids of what was sent from it: another one that came to be in its place, where
// sequences begin anew, has another.
func QueueToken(queue uint64) string { return strconv.FormatUint(queue, 36) }

// SentPrefix is what the ids of all frames from a queue begin with; the sequence follows.
func SentPrefix(port, stream string) string { return port + ".sent." + stream + "." }

// ParseSentID takes an id of SentID apart.
func ParseSentID(port, id string) (queue string, sequence uint64, ok bool) {
	text, ok := strings.CutPrefix(id, port+".sent.")
	if !ok {
		return "", 0, false
	}
	queue, text, _ = strings.Cut(text, ".")
	sequence, err := strconv.ParseUint(text, 10, 64)
	return queue, sequence, err == nil
}

// SessionAt names the session of a port that opened at t. Later sessions sort behind earlier ones.
func SessionAt(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 36) }

// SessionStart is when a session was opened.
func SessionStart(session string) (time.Time, error) {
	micros, err := strconv.ParseInt(session, 36, 64)
	return time.UnixMicro(micros), err
}

// Waits says since when a frame waits that its queue has since stored, and how long it may; 0: for ever.
func Waits(h nats.Header, stored time.Time) (since time.Time, ttl time.Duration) {
	since, ttl = stored, FrameTTL(h.Get(HeaderTTL))
	if queued, err := time.Parse(time.RFC3339Nano, h.Get(HeaderQueued)); err == nil && queued.Before(stored) {
		since = queued
		if h.Get(HeaderQueuedTTL) != "" {
			ttl = FrameTTL(h.Get(HeaderQueuedTTL))
		}
	}
	return since, ttl
}

// FrameTTL is what a HeaderTTL means, in whole seconds as the server reads it; 0: it may wait for ever.
func FrameTTL(header string) time.Duration {
	if d, err := time.ParseDuration(header); err == nil {
		return d.Truncate(time.Second)
	}
	seconds, err := strconv.ParseUint(header, 10, 32)
	if err != nil {
		return 0 // none, or never: the server has refused what it cannot read
	}
	return time.Duration(seconds) * time.Second
}

// Stale says why a frame that was queued at a time is not sent any more, or nothing.
func Stale(queued, now time.Time, ttl, maxAge time.Duration) string {
	age := now.Sub(queued)
	switch {
	case ttl > 0 && age >= ttl:
		return "it has waited for longer than its " + HeaderTTL + ": " + ttl.String()
	case maxAge > 0 && age >= maxAge:
		return "it has waited for longer than max_age: " + maxAge.String()
	}
	return ""
}

// OutcomeHeader is the header of a message on sent.
func OutcomeHeader(port, stream string, sequence uint64, now time.Time) nats.Header {
	return nats.Header{
		HeaderTime: {FormatTime(now)}, HeaderQueueSeq: {strconv.FormatUint(sequence, 10)}, HeaderMsgID: {SentID(port, stream, sequence)},
	}
}

// ExpiredHeader is the header of a message on expired.
func ExpiredHeader(port, stream string, sequence uint64, reason string, now time.Time) nats.Header {
	h := OutcomeHeader(port, stream, sequence, now)
	h[HeaderReason] = []string{reason}
	return h
}

// expiredRoom is for the headers of a message on expired.
const expiredRoom = 1 << 10

// ExpiredData is what a message on expired has of a frame: all, unless the broker takes no such long messages any more.
func ExpiredData(nc *nats.Conn, frame []byte) []byte {
	return frame[:min(len(frame), max(0, int(nc.MaxPayload())-expiredRoom))]
}
