package ipc_test

import (
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

func TestSubjectsSplit(t *testing.T) {
	s := ipc.Subjects{Root: "plant1.serial"}
	for _, c := range []struct {
		subject, port, kind string
		ok                  bool
	}{
		{"plant1.serial.gps.rx", "gps", "rx", true},
		{"plant1.serial.supervisor.log.gps", "supervisor", "log.gps", true},
		{"plant1.serial.gps", "", "", false},
		{"plant1.serial..rx", "", "", false},
		{"plant1.serial.gps.", "", "", false},
		{"plant1.serials.gps.rx", "", "", false},
		{"serial.gps.rx", "", "", false},
	} {
		port, kind, ok := s.Split(c.subject)
		if ok != c.ok || ok && (port != c.port || kind != c.kind) {
			t.Errorf("Split(%q) = %q, %q, %t, want %q, %q, %t", c.subject, port, kind, ok, c.port, c.kind, c.ok)
		}
	}
	if got := s.QueueOf("gps"); got != "PLANT1_SERIAL_QUEUE_gps" {
		t.Errorf("QueueOf(gps) = %q", got)
	}
}

func TestSessionsSort(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if a, b := ipc.SessionAt(at), ipc.SessionAt(at.Add(time.Millisecond)); a >= b {
		t.Errorf("session %q of an earlier time does not sort before %q", a, b)
	}
	if got, want := ipc.MessageID("gps", "s1", 18446744073709551615), "gps.s1.18446744073709551615"; got != want {
		t.Errorf("MessageID = %q, want %q", got, want)
	}
}
