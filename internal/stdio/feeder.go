package stdio

import (
	"errors"
	"os"
	"sync"
	"time"
)

// feeder writes lines to a process.
type feeder struct {
	in *os.File

	mu     sync.Mutex // held while is written, which takes as long as the process takes to read; guards all below
	unread []byte
	held   bool // nothing is written any more
	failed bool // nobody reads any more
}

// gather is how much is gathered before it is written.
const gather = 4 << 10

// add takes a line. It is written when it is the last one for now, or with others.
func (f *feeder) add(line []byte, last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unread = append(f.unread, line...)
	if !f.held && (last || len(f.unread) >= gather) {
		f.write()
	}
}

// write writes what is there. mu must be held.
func (f *feeder) write() {
	if f.failed {
		f.unread = nil
		return
	}
	n, err := f.in.Write(f.unread)
	f.unread = append(f.unread[:0], f.unread[n:]...)
	f.failed = err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// hold writes nothing any more; a write that is under way ends.
func (f *feeder) hold() {
	_ = f.in.SetWriteDeadline(time.Now()) // it works for a pipe
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = true
}

// rest is what was not written.
func (f *feeder) rest() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unread
}
