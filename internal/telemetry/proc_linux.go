package telemetry

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// usage is what a process uses.
type usage struct {
	resident float64 // bytes
	cpu      float64 // seconds, of all its threads, user and system
}

// Where numbers stand in /proc/PID/stat behind the program's name, see proc_pid_stat(5), whose count begins with 1 and has
// two before.
const (
	statParent = 4 - 3
	statUser   = 14 - 3
	statSystem = 15 - 3
	statPages  = 24 - 3
)

// ticks is USER_HZ, in which the kernel counts time there on every architecture that Go knows.
const ticks = 100

// readUsage reads what a child of this process uses. It returns false if it is no more.
func readUsage(pid int) (u usage, ok bool) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return u, false
	}
	defer func() { _ = unix.Close(fd) }()
	var line [1024]byte
	n, err := unix.Read(fd, line[:])
	if err != nil {
		return u, false
	}
	// The name is in parentheses and may have any.
	fields := bytes.Fields(line[bytes.LastIndexByte(line[:n], ')')+1 : n])
	if len(fields) <= statPages {
		return u, false
	}
	number := func(i int) float64 {
		v, _ := strconv.ParseUint(string(fields[i]), 10, 64) // the kernel writes nothing else
		return float64(v)
	}
	if int(number(statParent)) != os.Getpid() {
		return u, false // another process has the number meanwhile
	}
	return usage{resident: number(statPages) * float64(os.Getpagesize()), cpu: (number(statUser) + number(statSystem)) / ticks}, true
}
