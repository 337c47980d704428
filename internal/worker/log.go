package worker

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// handler writes each record as a line "<3>message", with the priority as sd-daemon(3) has it, and behind a tab "key=value …",
// from which the supervisor makes a record of its own log again. Time and worker are added there.
type handler struct {
	text slog.Handler
	out  *lines
}

// lines passes on whole records with a priority in front of them.
type lines struct {
	mu     sync.Mutex // guards all below: text writes one record into buffer, then it is written out
	buffer bytes.Buffer
	out    io.Writer
}

func newHandler(out io.Writer) *handler {
	l := &lines{out: out}
	text := slog.NewTextHandler(&l.buffer, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return a
		},
	})
	return &handler{text, l}
}

// Enabled implements slog.Handler. The supervisor knows the level that is wanted.
func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.buffer.Reset()
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	line := append([]byte(priority(r.Level)), []byte(strings.NewReplacer("\n", " ", "\t", " ").Replace(r.Message))...)
	if attrs := bytes.TrimSpace(h.out.buffer.Bytes()); len(attrs) > 0 {
		line = append(append(line, '\t'), attrs...)
	}
	_, err := h.out.out.Write(append(line, '\n'))
	return err
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.text.WithAttrs(attrs), h.out}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler { return &handler{h.text.WithGroup(name), h.out} }

func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	case level >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
