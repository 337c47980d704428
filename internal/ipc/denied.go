package ipc

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// Within the account of a client that is not one of the gateway's own processes some subjects lead elsewhere. The broker names them
// by that when it refuses them.
const (
	// AskedPrefix is before what a tap asks for.
	AskedPrefix = "$ASK."
	// ForgedPrefix is before what is said as if ports had.
	ForgedPrefix = "$FORGED."
)

var deniedPattern = regexp.MustCompile(`(?:Publish|Subscription) to ("(?:[^"\\]|\\.)*")`)

// DeniedSubject is the subject that an error of a connection says the user has no right to.
func DeniedSubject(err error) (subject string, ok bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return "", false
	}
	found := deniedPattern.FindStringSubmatch(err.Error())
	if found == nil {
		return "", false
	}
	if subject, err = strconv.Unquote(found[1]); err != nil {
		return "", false
	}
	return strings.TrimPrefix(strings.TrimPrefix(subject, ForgedPrefix), AskedPrefix), true
}
