package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// victim is a process that is killed or stopped. It is held by a descriptor, so that no other can be hit in its place.
type victim struct {
	pidfd int
	pid   int
}

// worker finds a worker of the supervisor by its name; ok is false if there is none now.
func (g *gateway) worker(name string) (v victim, ok bool) {
	supervisor := g.pid()
	if supervisor == 0 {
		return v, false
	}
	want := []byte(ipc.EnvWorker + "=" + name + "\x00")
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", supervisor))
	for _, task := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", supervisor, task.Name()))
		for text := range strings.FieldsSeq(string(children)) {
			pid, err := strconv.Atoi(text)
			if err != nil {
				continue
			}
			v, err := hold(pid)
			if err != nil {
				continue
			}
			// Read when it is held: what is held is what is read.
			environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if err == nil && bytes.Contains(environ, want) {
				return v, true
			}
			v.release()
		}
	}
	return v, false
}

// hold holds a process, which release lets go.
func hold(pid int) (victim, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return victim{fd, pid}, err
}

// signal returns false if the process has ended.
func (v victim) signal(s unix.Signal) bool { return unix.PidfdSendSignal(v.pidfd, s, nil, 0) == nil }

func (v victim) release() { _ = unix.Close(v.pidfd) }
