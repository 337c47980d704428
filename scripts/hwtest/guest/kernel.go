package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kernelLog reads what the kernel says from now on, see Documentation/ABI/testing/dev-kmsg. Its time stamps come from
// where things happen, and not from when this program was given a processor.
type kernelLog struct {
	fd     int
	offset time.Duration // of the log's clock ahead of CLOCK_MONOTONIC
}

func openKernelLog() (*kernelLog, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/kmsg: %w", err)
	}
	k := &kernelLog{fd: fd}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		return nil, fmt.Errorf("seek in /dev/kmsg: %w", err)
	}
	before := monotonic()
	if err := os.WriteFile("/dev/kmsg", []byte("hwtest: what is the time?\n"), 0); err != nil {
		return nil, err
	}
	after := monotonic()
	_, stamp, err := k.await(regexp.MustCompile("hwtest: what is the time"))
	k.offset = stamp - (before+after)/2
	return k, err
}

func (k *kernelLog) close() { _ = unix.Close(k.fd) }

// await waits for a message and returns what matched, and when it was said, by CLOCK_MONOTONIC. Messages before it are
// passed over. A record is "6,1234,5678901,-;text", its third field a time in µs.
func (k *kernelLog) await(pattern *regexp.Regexp) (match []string, at time.Duration, err error) {
	buffer := make([]byte, 8192)
	err = until("the kernel says /"+pattern.String()+"/", func() bool {
		for {
			n, err := unix.Read(k.fd, buffer)
			if err == unix.EPIPE { // messages were overwritten
				continue
			}
			if err != nil {
				return false
			}
			head, text, _ := strings.Cut(string(buffer[:n]), ";")
			fields := strings.Split(head, ",")
			if match = pattern.FindStringSubmatch(text); match == nil || len(fields) < 3 {
				continue
			}
			µs, _ := strconv.ParseInt(fields[2], 10, 64)
			at = time.Duration(µs)*time.Microsecond - k.offset
			return true
		}
	})
	return match, at, err
}

// monotonic is CLOCK_MONOTONIC.
func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // there is always one
	return time.Duration(t.Nano())
}

// idle says whether a process has not run for a while.
func idle(pid int) bool {
	ran := func() string {
		var all []string
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, path := range tasks {
			stat, _ := os.ReadFile(path) // "TIME_ON_CPU TIME_WAITING SLICES"
			all = append(all, string(stat))
		}
		return strings.Join(all, "")
	}
	before := ran()
	<-time.After(100 * time.Millisecond)
	return ran() == before
}

// holdings are what a process has.
type holdings struct{ descriptors, children, threads int }

func holdingsOf(pid int) holdings {
	count := func(path string) int {
		entries, _ := os.ReadDir(path)
		return len(entries)
	}
	h := holdings{descriptors: count(fmt.Sprintf("/proc/%d/fd", pid)), threads: count(fmt.Sprintf("/proc/%d/task", pid))}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// "4711 (name) S 1 ...": the name may hold anything, so the fields are counted from its end.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			h.children++
		}
	}
	return h
}
