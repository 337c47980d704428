package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
)

// longestLine is how much of a line of output is logged as one record; the rest comes as further records.
const longestLine = 4 << 10

// logLines makes a log record of each line, until r ends. A priority in front of it, as in sd-daemon(3), sets its level:
// "<3>message" is an error; without one it is info.
func logLines(r io.Reader, log *slog.Logger) {
	lines := bufio.NewReaderSize(r, longestLine)
	for {
		line, err := lines.ReadSlice('\n')
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			level, text := splitPriority(line)
			log.Log(context.Background(), level, string(text))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

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
