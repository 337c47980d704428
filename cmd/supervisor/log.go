package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/serialvisor/serialvisor/internal/config"
)

func newLog(out io.Writer, c config.Log, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// openLog is the log on standard error of a gateway that runs. setLevel changes what is logged. close writes what is left, for which it takes a second at most.
// A reader that has gone, or does not read, keeps nobody waiting.
func openLog(c config.Log) (log *slog.Logger, setLevel func(slog.Level), close func()) {
	// Without this the end of the reader would be ours. To ignore the signal would have workers inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	w := newLossyWriter(os.Stderr)
	level := new(slog.LevelVar)
	level.Set(c.Level)
	return newLog(w, c, level), level.Set, func() { w.close(time.Second) }
}

// lossyWriter writes lines without ever waiting for who reads them: what does not fit into its memory is left out, and counted.
type lossyWriter struct {
	out  io.Writer
	done chan struct{} // closed when all is written after close

	mu      sync.Mutex // guards all below
	lines   [][]byte
	bytes   int
	lost    int
	closing bool
	news    *sync.Cond // there are lines, or none will come
}

// lossyMost is how much is kept for a reader that does not read.
const lossyMost = 1 << 20

func newLossyWriter(out io.Writer) *lossyWriter {
	w := &lossyWriter{out: out, done: make(chan struct{})}
	w.news = sync.NewCond(&w.mu)
	go w.run() // until close; a write that never ends is left to the end of the process
	return w
}

// Write implements io.Writer. Each call is a line.
func (w *lossyWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes+len(line) > lossyMost {
		w.lost++
		return len(line), nil
	}
	w.lines, w.bytes = append(w.lines, append([]byte(nil), line...)), w.bytes+len(line)
	w.news.Signal()
	return len(line), nil
}

func (w *lossyWriter) run() {
	defer close(w.done)
	for {
		w.mu.Lock()
		for len(w.lines) == 0 && w.lost == 0 && !w.closing {
			w.news.Wait()
		}
		lines, lost := w.lines, w.lost
		ended := w.closing && len(lines) == 0 && lost == 0
		w.lines, w.bytes, w.lost = nil, 0, 0
		w.mu.Unlock()
		if ended {
			return
		}
		for _, line := range lines {
			_, _ = w.out.Write(line) // who is gone does not miss it
		}
		if lost > 0 {
			_, _ = fmt.Fprintf(w.out, "supervisor: %d lines of the log are missing here: nobody read them in time\n", lost)
		}
	}
}

// close writes what is left, for some time at most.
func (w *lossyWriter) close(limit time.Duration) {
	w.mu.Lock()
	w.closing = true
	w.news.Signal()
	w.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
}
