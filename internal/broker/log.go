package broker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// serverLog passes what the server says on to the supervisor's log. A fatal message does not end the process: it is kept
// for Start to return.
type serverLog struct {
	log   *slog.Logger
	quiet atomic.Bool // the store is being mended, of which its watcher tells

	mu    sync.Mutex // guards fatal
	fatal string
}

func newServerLog(log *slog.Logger) *serverLog { return &serverLog{log: log.With("worker", "broker")} }

// Fatal is the last fatal message, or empty.
func (l *serverLog) Fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// Noticef is logged as debug: the server notes every step of its own start.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if l.quiet.Load() || isFull(text) {
		l.log.Debug(text)
		return
	}
	l.log.Warn(text)
}

// Fatalf implements server.Logger.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Sprintf(format, v...)
	if !isFull(l.fatal) {
		l.log.Error(l.fatal)
	}
}

// Errorf implements server.Logger. That the store cannot be written is said several times over, and by its watcher in
// one line with what helps.
func (l *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if l.quiet.Load() || strings.Contains(text, "rite error: ") || strings.Contains(text, "failed to store a msg") || isFull(text) {
		l.log.Debug(text)
		return
	}
	l.log.Error(text)
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Tracef implements server.Logger.
func (l *serverLog) Tracef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
