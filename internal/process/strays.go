package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// AdoptStrays has the processes that lose their parent become children of this process, instead of the system's first one,
// when they descend from it. Run reaps them.
func (s *Spawner) AdoptStrays() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt processes without a parent: %w", err)
	}
	return nil
}

// ReapStrays reaps adopted processes as they end, until ctx ends. Those that were started here are not touched: whoever
// waits for them gets what became of them.
func (s *Spawner) ReapStrays(ctx context.Context) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		s.reapStrays()
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
		}
	}
}

func (s *Spawner) reapStrays() {
	for _, pid := range s.strays() {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // it lives, or is gone now
	}
}

// killFamily kills what a process that is dead has left behind, until nothing is. The kernel has made its children ours, so
// they are among the strays: those with its mark, and those that have cleared their environment and are no older than it, of
// which nobody can know whose they are, unless they have a control group.
func (s *Spawner) killFamily(mark string, since time.Time) {
	if s.delegated != "" {
		killGroup(groupOf(s.delegated, mark), s.reapStrays)
	}
	for end := time.Now().Add(killLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		left := 0
		for _, pid := range s.strays() {
			if began, ok := beganAt(pid); !ok || began.Before(since.Add(-clockTick)) || !marked(pid, mark) && (marked(pid, MarkName+"=") || inFamily(pid)) {
				continue
			}
			// Its own children, if it leads a group, are killed with it. A child that was not reaped keeps its number.
			_, _ = unix.Kill(-pid, unix.SIGKILL), unix.Kill(pid, unix.SIGKILL)
			left++
		}
		s.reapStrays()
		if left == 0 {
			return
		}
	}
}

// strays lists the children that were not started here, which nobody waits for.
func (s *Spawner) strays() (list []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pid := range children() {
		if !s.known[pid] {
			list = append(list, pid)
		}
	}
	return list
}

// children lists the children of this process. Where the kernel keeps no lists of them all processes are asked.
func children() (list []int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	if len(lists) == 0 {
		for pid := range processes {
			if fields, ok := statFields(pid); ok && fields[1] == strconv.Itoa(os.Getpid()) {
				list = append(list, pid)
			}
		}
		return list
	}
	for _, path := range lists {
		text, _ := os.ReadFile(path) // a thread that has ended has no list
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				list = append(list, pid)
			}
		}
	}
	return list
}

// clockTick is the kernel's unit for the start of a process.
const clockTick = time.Second / 100

// beganAt is when a process was started, up to a clockTick earlier. A dead one has no time.
func beganAt(pid int) (time.Time, bool) {
	fields, ok := statFields(pid)
	if !ok || fields[0] == "Z" {
		return time.Time{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Time{}, false
	}
	return time.Now().Add(time.Duration(ticks)*clockTick - time.Duration(now.Nano())), true
}

// statFields are the fields of proc_pid_stat(5) from the third on: state, parent, …; the start is the 22nd.
func statFields(pid int) ([]string, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, false
	}
	// The name in parentheses before them may contain anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return fields, len(fields) >= 20
}
