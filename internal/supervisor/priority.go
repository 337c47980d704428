package supervisor

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
)

// splitPriority takes the level from the front of a line, where sd-daemon(3) has it: "<3>message" is an error; without one it
// is info.
func splitPriority(line []byte) (slog.Level, []byte) {
	if len(line) < 3 || line[0] != '<' || line[2] != '>' {
		return slog.LevelInfo, line
	}
	switch line[1] {
	case '0', '1', '2', '3':
		return slog.LevelError, line[3:]
	case '4':
		return slog.LevelWarn, line[3:]
	case '5', '6':
		return slog.LevelInfo, line[3:]
	case '7':
		return slog.LevelDebug, line[3:]
	}
	return slog.LevelInfo, line
}

// splitAttributes takes the attributes of a record from behind its message, as slog's TextHandler writes them:
//
//	message<TAB>key=value other="a value"
func splitAttributes(line []byte) (message []byte, attributes []any) {
	message, rest, _ := bytes.Cut(line, []byte("\t"))
	for text := string(rest); text != ""; text = strings.TrimLeft(text, " ") {
		key, after, _ := strings.Cut(text, "=")
		value := after
		if quoted, err := strconv.QuotedPrefix(after); err == nil {
			text = after[len(quoted):]
			value, _ = strconv.Unquote(quoted) // it is one
		} else {
			value, text, _ = strings.Cut(after, " ")
		}
		attributes = append(attributes, key, value)
	}
	return message, attributes
}
