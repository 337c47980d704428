package main

import (
	"encoding/json"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// TestControlRequests asks as any NATS client may: the answer is JSON, or an error with a stable code that leaves the port
// as it was.
func TestControlRequests(t *testing.T) {
	g := startPluggable(t, "baud: 9600")
	nc := g.connect(t, "send")
	ask := func(request string) (ipc.ControlReply, string) {
		t.Helper()
		m, err := nc.Request("serial.gps.control", []byte(request), patience)
		if err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		var reply ipc.ControlReply
		code := m.Header.Get("Nats-Service-Error-Code")
		if code == "" {
			if err := json.Unmarshal(m.Data, &reply); err != nil {
				t.Fatalf("%s: %v in %s", request, err, m.Data)
			}
		} else if m.Header.Get("Nats-Service-Error") == "" {
			t.Errorf("%s: code %s without a sentence", request, code)
		}
		return reply, code
	}
	for _, request := range []string{"", "{}", " "} {
		if r, code := ask(request); code != "" || r.Baud != 9600 || r.Note != "" || r.Port != "gps" || r.Device != g.link {
			t.Errorf("%q: %+v %s", request, r, code)
		}
	}
	if r, code := ask(`{"baud": 4800, "stop_bits": "2", "break": "1ms", "flush": "in"}`); code != "" || r.Baud != 4800 || r.StopBits != "2" || r.Note == "" {
		t.Errorf("a change: %+v %s", r, code)
	}
	for request, want := range map[string]string{
		`{"baud": 4801`:                      "400",
		`[9600]`:                             "400",
		`{"baud": 1200, "baud": 2400}`:       "400",
		`{"baud": 0}`:                        "400",
		`{"baud": 1e9}`:                      "400",
		`{"baud": null}`:                     "400",
		`{"baud": [1200]}`:                   "400",
		`{"baud": 1200, "colour": "red"}`:    "400",
		`{"baud": 1200, "stop_bits": "1.5"}`: "400",
		`{"baud": 1200, "dtr": "keep"}`:      "400",
		`{"baud": 1200, "break": "6s"}`:      "400",
		`{"baud": 1200, "flush": "all"}`:     "400",
		`{"baud": 1200, "rts": false}`:       "501", // a pty has none
		`{"baud": 1200} {"baud": 2400}`:      "400",
		`{"baud": 1200}}`:                    "400",
	} {
		if _, code := ask(request); code != want {
			t.Errorf("%s: code %q, want %s", request, code, want)
		}
		if r, _ := ask(""); r.Baud != 4800 {
			t.Fatalf("%s has set %d baud", request, r.Baud)
		}
	}
	g.unplug(t)
	g.awaitState(t, ipc.Missing)
	if _, code := ask(`{"baud": 1200}`); code != "409" {
		t.Errorf("without a device: code %q, want 409", code)
	}
	g.plugIn(t)
	g.awaitState(t, ipc.Open)
	if r, code := ask(""); code != "" || r.Baud != 9600 || r.Note != "" {
		t.Errorf("after it came back: %+v %s", r, code)
	}
}
