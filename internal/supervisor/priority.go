package supervisor

import "log/slog"

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
