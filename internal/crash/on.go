//go:build crashpoints

// Package crash lets tests kill a worker at a named place, to see that its successor goes on as if nothing had happened.
package crash

import (
	"os"

	"golang.org/x/sys/unix"
)

// Folder is the environment variable that names a folder; a file in it has the process killed that comes by the point of
// the same name, and is taken away by it.
const Folder = "SERIALVISOR_CRASH"

var folder = os.Getenv(Folder)

// Point is a place where the process can be killed.
func Point(name string) {
	if folder == "" || os.Remove(folder+"/"+name) != nil {
		return
	}
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // the signal may take a moment
}
