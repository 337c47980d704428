package ipc

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
)

// The subject is the one that the user has named, wherever that leads to in his account.
func TestDeniedSubject(t *testing.T) {
	violation := func(text string) error { return fmt.Errorf("%w: %s", nats.ErrPermissionViolation, text) }
	for _, c := range []struct {
		err  error
		want string
	}{
		{violation(`Permissions Violation for Publish to "serial.gps.tx"`), "serial.gps.tx"},
		{violation(`Permissions Violation for Publish to "$FORGED.serial.gps.rx" on connection [7]`), "serial.gps.rx"},
		{violation(`Permissions Violation for Publish to "$ASK.serial.supervisor.status"`), "serial.supervisor.status"},
		{violation(`Permissions Violation for Subscription to "serial.>" using queue "q"`), "serial.>"},
		{violation("something else"), ""},
		{errors.New(`Permissions Violation for Publish to "serial.gps.tx"`), ""},
		{nil, ""},
	} {
		if got, ok := DeniedSubject(c.err); got != c.want || ok != (c.want != "") {
			t.Errorf("of %v it is %q, %t; want %q", c.err, got, ok, c.want)
		}
	}
}
