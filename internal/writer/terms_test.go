package writer

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestTerms(t *testing.T) {
	var p termsParser
	got, err := p.parse(nats.Header{"Serial-Timeout": {"250ms"}, "Serial-Settle": {"10ms"}, "Nats-Msg-Id": {"x"}})
	if err != nil || got.timeout != 250*time.Millisecond || got.settle != 10*time.Millisecond || got.frames != 1 || got.none {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := p.parse(nil); err != nil || got.timeout != time.Second || got.frames != 1 {
		t.Errorf("no headers: %+v, %v", got, err)
	}
	if got, err := p.parse(nats.Header{"Serial-Frames": {"0"}}); err != nil || !got.none {
		t.Errorf("no answer: %+v, %v", got, err)
	}
	for range 2 { // the second time from memory
		got, err := p.parse(nats.Header{"Serial-Until": {"^OK"}, "Serial-Gap": {"5ms"}})
		if err != nil || got.frames != 0 || !got.until.MatchString("OK") || got.gap != 5*time.Millisecond {
			t.Errorf("until: %+v, %v", got, err)
		}
	}
	for _, h := range []nats.Header{
		{"Serial-Timeout": {"0s"}}, {"Serial-Timeout": {"-1s"}}, {"Serial-Timeout": {"1h"}}, {"Serial-Timeout": {"1"}}, {"Serial-Timeout": {""}},
		{"Serial-Frames": {"-1"}}, {"Serial-Frames": {"x"}}, {"Serial-Frames": {"1000001"}}, {"Serial-Until": {"("}},
		{"Serial-Until": {strings.Repeat("a", 1025)}}, {"Serial-Gap": {"never"}}, {"Serial-Settle": {"2m"}},
		{"Serial-Frames": {"0"}, "Serial-Gap": {"5ms"}}, {"Serial-Timout": {"1s"}}, {"serial-timeout": {"1s"}}, {"Serial-Time": {"x"}},
	} {
		if _, err := p.parse(h); err == nil {
			t.Errorf("%v was taken", h)
		}
	}
}
