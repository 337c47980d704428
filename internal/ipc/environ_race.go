//go:build race

package ipc

// The race detector's options reach workers too: else each would wait a second when it ends.
func init() { passedOn = append(passedOn, "GORACE") }
