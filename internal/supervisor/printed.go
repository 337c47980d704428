package supervisor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
)

// printed takes what a worker prints, line by line: into the log and to those who tap it. Of a worker that prints without end
// most is left out, and counted: neither log nor memory nor broker are to suffer from it.
type printed struct {
	subject string
	ours    bool // it is a reader or writer, whose lines have attributes behind a tab
	log     *slog.Logger
	publish func(*nats.Msg) error // nil: to nobody

	// begun are the beginnings of lines, by stream, that are there before it reads, or were left when the process was detached.
	begun [2][]byte

	mu     sync.Mutex // held while a line is handled; guards all below
	credit float64    // lines that may be logged at once
	paid   time.Time  // when credit was last given
	missed int        // lines that were left out since
}

// newPrinted is for one life of a worker.
func newPrinted(b *broker.Broker, subjects ipc.Subjects, log *slog.Logger, worker string, ours bool) *printed {
	return &printed{ours: ours, subject: subjects.WorkerLog(worker), log: log.With("worker", worker), publish: b.Traffic().PublishMsg}
}

// Limits of what is logged of a worker.
const (
	longestLine = 16 << 10 // bytes of a line; the rest is left out
	mostAtOnce  = 5000     // lines
	mostPerSec  = 500      // lines
)

// Sizes of the buffer for a stream: small at first, as there are two for each worker, and large for who prints much.
const (
	firstBuffer   = 4 << 10
	largestBuffer = 64 << 10
)

func (p *printed) stdout(r io.Reader) { p.read("stdout", r, &p.begun[0]) }
func (p *printed) stderr(r io.Reader) { p.read("stderr", r, &p.begun[1]) }

// read takes a stream to its end.
func (p *printed) read(stream string, r io.Reader, begun *[]byte) {
	buffer := make([]byte, firstBuffer)
	line := *begun // what is there of the one under way
	left := 0      // bytes of it that are left out
	for {
		n, err := r.Read(buffer)
		data := buffer[:n]
		if last := bytes.LastIndexByte(data, '\n'); last >= 0 && p.flooded(data) {
			data, line, left = data[last+1:], line[:0], 0
		}
		for len(data) > 0 {
			text, rest, whole := bytes.Cut(data, []byte("\n"))
			data = rest
			room := min(len(text), longestLine-len(line))
			line, left = append(line, text[:room]...), left+len(text)-room
			if whole {
				p.line(stream, line, left)
				line, left = line[:0], 0
			}
		}
		if errors.Is(err, process.ErrDetached) && left == 0 {
			*begun, line = line, nil
		}
		if err != nil {
			p.line(stream, line, left)
			p.report(stream)
			return
		}
		if n == len(buffer) && n < largestBuffer {
			buffer = make([]byte, largestBuffer)
		}
	}
}

// line takes a line without its end, of which so many more bytes were left out.
func (p *printed) line(stream string, line []byte, left int) {
	line = bytes.TrimRight(line, "\r")
	if len(line) == 0 && left == 0 {
		return
	}
	if !p.may() {
		return
	}
	p.report(stream)
	level, text := splitPriority(line)
	var more []any
	whole := append([]byte(nil), text...)
	if p.ours {
		text, more = splitAttributes(text)
		whole = bytes.Replace(whole, []byte("\t"), []byte(" "), 1)
	}
	if left > 0 {
		more = append(more, "left_out", left)
	}
	p.log.Log(context.Background(), level, string(text), append(more, "stream", stream)...)
	if p.publish == nil {
		return
	}
	m := &nats.Msg{Subject: p.subject, Data: whole, Header: nats.Header{
		ipc.HeaderTime: {ipc.FormatTime(time.Now())}, ipc.HeaderStream: {stream}, ipc.HeaderLevel: {level.String()},
	}}
	if err := p.publish(m); err != nil {
		p.log.Debug("a line was not published", "error", err)
	}
}

// flooded says whether no line may be logged now, and counts those in some data as left out if so: a flood is not looked at
// line by line.
func (p *printed) flooded(data []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.missed == 0 || p.pay() {
		return false
	}
	p.missed += bytes.Count(data, []byte("\n"))
	return true
}

// may says whether one more line may be logged now.
func (p *printed) may() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.pay() {
		p.missed++
		return false
	}
	p.credit--
	return true
}

// pay gives the credit of the time that has passed, and says whether there is enough: after a flood a second's worth, so that
// lines come in blocks. mu must be held.
func (p *printed) pay() bool {
	now := time.Now()
	if p.paid.IsZero() {
		p.credit = mostAtOnce
	} else {
		p.credit = min(mostAtOnce, p.credit+now.Sub(p.paid).Seconds()*mostPerSec)
	}
	p.paid = now
	return p.credit >= 1 && (p.missed == 0 || p.credit >= mostPerSec)
}

// report logs how many lines were left out.
func (p *printed) report(stream string) {
	p.mu.Lock()
	missed := p.missed
	p.missed = 0
	p.mu.Unlock()
	if missed > 0 {
		p.log.Warn("lines were left out: the worker prints too many", "lines", missed, "stream", stream)
	}
}
