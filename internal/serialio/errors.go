package serialio

import (
	"errors"
	"fmt"
)

// What can stand in the way of a port. Errors of Open wrap one of the first two, or neither when the device is there
// and cannot be used.
var (
	ErrMissing = errors.New("no such device")
	ErrBusy    = errors.New("device is in use")
	// ErrHangup is what a worker meets when the device went away while it was open.
	ErrHangup = errors.New("device hung up")
	// ErrRefused says that a driver took line settings and made others of them.
	ErrRefused = errors.New("the driver refused the line settings")
	// ErrUnsupported says that a driver does not have what was asked for.
	ErrUnsupported = errors.New("the driver does not have it")
)

// hintError adds what the user can do about an error.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() + " (" + e.hint + ")" }
func (e *hintError) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}
