package process

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// MarkName is the variable that marks a worker's family.
const MarkName = "SERIALVISOR_FAMILY"

// KillMarked kills all processes that have inherited a mark, until none is left: those that left their process group, became
// daemons and were adopted by others too. What has cleared its environment is found by its control group only.
func KillMarked(mark string) {
	if folder := delegated(); folder != "" {
		killGroups(folder, mark)
	}
	for end := time.Now().Add(killLimit); ; time.Sleep(time.Millisecond) {
		found := false
		for pid := range processes {
			found = killIfMarked(pid, mark) || found
		}
		if !found || time.Now().After(end) {
			return
		}
	}
}

// processes yields the numbers of all processes but this one.
func processes(yield func(pid int) bool) {
	proc, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer func() { _ = proc.Close() }()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() && !yield(pid) {
			return
		}
	}
}

// killIfMarked holds on to the process while it looks at it, as its number may become another's.
func killIfMarked(pid int, mark string) bool {
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(handle) }()
	if !marked(pid, mark) {
		return false
	}
	return unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0) == nil
}

// marked says whether a process has a mark. A dead one that was not reaped has none.
func marked(pid int, mark string) bool {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.HasPrefix(variable, []byte(mark)) {
			return true
		}
	}
	return false
}
