//go:build crashpoints

package ipc

import "github.com/serialvisor/serialvisor/internal/crash"

// Tests say where workers are killed.
func init() { passedOn = append(passedOn, crash.Folder) }
