package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// serverLog passes what the server says on to the supervisor's log. A fatal message does not end the process: it is kept
// for Start to return.
type serverLog struct {
	log      *slog.Logger
	laggards *laggards
	leaf     leafLog
	limit    *limit
	quiet    atomic.Bool // the store is being mended, of which its watcher tells

	mu    sync.Mutex // guards fatal
	fatal string
}

func newServerLog(log *slog.Logger, l *laggards) *serverLog {
	return &serverLog{log: log.With("worker", "broker"), laggards: l, limit: newLimit()}
}

// Fatal is the last fatal message, or empty.
func (l *serverLog) Fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// Noticef is logged as debug: the server notes every step of its own start. Of a client that it cuts off nobody else tells.
func (l *serverLog) Noticef(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if slow := slowNotice.FindStringSubmatch(text); slow != nil && l.laggards.add(slow[1]) {
		l.log.Warn("a client that does not read is cut off", "reason", text)
		return
	}
	l.log.Debug(text)
}

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if l.quiet.Load() || isFull(text) || isRecovery(text) || l.leaf.repeats(text, time.Now()) {
		l.log.Debug(text)
		return
	}
	l.say(slog.LevelWarn, text)
}

// say logs a line, unless there are too many.
func (l *serverLog) say(level slog.Level, text string) {
	leftOut, ok := l.limit.pass(time.Now())
	if !ok {
		return
	}
	var more []any
	if remedy := leafRemedy(text); remedy != "" {
		more = append(more, "remedy", remedy)
	}
	if leftOut > 0 {
		more = append(more, "left_out_before", leftOut)
	}
	l.log.Log(context.Background(), level, text, more...)
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
	if l.quiet.Load() || strings.Contains(text, "rite error: ") || strings.Contains(text, "failed to store a msg") || isFull(text) || l.leaf.repeats(text, time.Now()) {
		l.log.Debug(text)
		return
	}
	l.say(slog.LevelError, text)
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Tracef implements server.Logger.
func (l *serverLog) Tracef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// isRecovery knows what the server says when it reads a store anew that was not closed, or whose index is older than it is. It
// reads like damage and is none: what is missing would be said otherwise.
func isRecovery(text string) bool {
	return strings.Contains(text, "Filestore [") || strings.Contains(text, "TTL state is outdated") || strings.Contains(text, "Recovering stream state from index")
}
