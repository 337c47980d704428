package worker

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
)

func TestLogLinesCarryTheirPriority(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newHandler(&out)).With("port", "gps")
	log.Error("two\nlines", "error", errors.New("no such device"))
	log.Warn("careful")
	log.Info("fine", "count", 3)
	log.Debug("detail")
	want := "<3>two lines\tport=gps error=\"no such device\"\n<4>careful\tport=gps\n<6>fine\tport=gps count=3\n<7>detail\tport=gps\n"
	if out.String() != want {
		t.Errorf("wrote %q\nwant  %q", out.String(), want)
	}
}
