package broker

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// What the server says of the hub is logged once, and status has what helps.
func TestLeafLog(t *testing.T) {
	b := &Broker{log: newServerLog(slog.New(slog.DiscardHandler), nil)}
	now := time.Now()
	for _, c := range []struct{ text, problem string }{
		{"127.0.0.1:34565 - lid:14 - Leafnode Error 'Authentication Timeout'", "authorization {timeout: 10}"},
		{"127.0.0.1:34565 - lid:15 - Leafnode Error 'Authorization Violation'", "broker.leaf.urls"},
		{"127.0.0.1:34565 - lid:16 - TLS leafnode handshake error: tls: failed to verify certificate: x509: certificate signed by unknown authority", "broker.leaf.ca"},
		{"Error trying to connect as leafnode to remote server \"hub:7422\" (attempt 1): connection refused", "connection refused"},
	} {
		if b.log.leaf.repeats(c.text, now) {
			t.Errorf("not logged: %s", c.text)
		}
		if got := b.LinkProblem(); !strings.Contains(got, c.problem) || strings.Contains(got, "lid:") {
			t.Errorf("%s: status says %q, want %q in it", c.text, got, c.problem)
		}
	}
	if !b.log.leaf.repeats("127.0.0.1:34565 - lid:17 - Leafnode Error 'Authentication Timeout'", now.Add(time.Minute)) {
		t.Error("the same is logged again after a minute")
	}
	if b.log.leaf.repeats("127.0.0.1:34565 - cid:17 - 'Authentication Timeout'", now) || strings.Contains(b.LinkProblem(), "cid:") {
		t.Error("what a client says is taken for the hub's")
	}
}
