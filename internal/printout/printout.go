// Package printout collects what programs print, for tests that look at it while it comes.
package printout

import (
	"bytes"
	"sync"
)

// Output is written by one goroutine and read by another. The zero value is empty and ready.
type Output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is all that was written.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
