package worker_test

import (
	"fmt"
	"strings"
	"testing"
)

// Guards that a frame which was sent while the gateway was upgraded was not queued, and that nobody knew.
func TestSendOverUpgrades(t *testing.T) {
	gps := plug(t, nil)
	g := start(t, "ports: {gps: {device: "+gps.Path()+"}}")
	w := connect(t, g.env(t, "send"))
	stop, ended := make(chan struct{}), make(chan string)
	go func() { // ends with stop
		var sent strings.Builder
		for n := 0; ; n++ {
			select {
			case <-stop:
				ended <- sent.String()
				return
			default:
			}
			frame := fmt.Sprintf("%d\n", n)
			if _, err := w.Send(soon(t), "gps", []byte(frame)); err != nil {
				t.Errorf("frame %d: %v", n, err)
			}
			sent.WriteString(frame)
		}
	}()
	for range 6 {
		if out, err := g.command("upgrade").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	close(stop)
	sent := <-ended
	gps.hears(t, sent[strings.LastIndexByte(sent[:len(sent)-1], '\n')+1:])
	gps.mu.Lock()
	defer gps.mu.Unlock()
	if heard := string(gps.heard); heard != sent {
		t.Errorf("the device has heard %d bytes that are not the %d sent", len(heard), len(sent))
	}
}
