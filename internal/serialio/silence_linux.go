package serialio

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// MindSilence makes Read tell silence from sound as exactly as a process can, for where silence ends a frame. It concerns
// the calling thread, to which the reading goroutine must be locked. The kernel then wakes it when a wait is over, and not
// up to 50 µs later; and time in which the thread could have run and had no processor does not count as silence, nor hide it.
func (d *Device) MindSilence() error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil { // prctl(2); in ns
		return fmt.Errorf("set timer slack: %w", err)
	}
	fd, err := unix.Open("/proc/thread-self/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // a kernel without: the rest holds
	}
	d.delays = &delays{fd: fd}
	return nil
}

// await returns when there is something to read. Silence is counted from when the thread was woken by the bytes before,
// and not from when it could run or asked again; and bytes that came after the silence, before the thread could run, are
// not taken for ones that came before.
func (d *Device) await(idle time.Duration) error {
	if d.delays == nil {
		return d.wait(unix.POLLIN, idle)
	}
	delayed := d.delays.total()
	limit := idle
	if idle > 0 {
		limit = max(idle-time.Since(d.delays.heard), time.Nanosecond)
	}
	began := time.Now()
	if err := d.wait(unix.POLLIN, limit); err != nil {
		return err
	}
	now := time.Now()
	woken := now.Add(delayed - d.delays.total())
	if idle > 0 && limit > time.Nanosecond && now.Sub(began) > limit && woken.Sub(began) >= limit {
		return ErrIdle // the timer has woken it, not the bytes
	}
	d.delays.heard = woken
	return nil
}

// delays reads how long a thread has waited for a processor, from a file with three numbers, see the kernel's
// Documentation/scheduler/sched-stats.rst:
//
//	ns on a processor, ns waiting for one, turns
type delays struct {
	fd    int
	text  [96]byte
	heard time.Time // when bytes last woke the thread
}

func (d *delays) total() time.Duration {
	n, err := unix.Pread(d.fd, d.text[:], 0)
	if err != nil {
		return 0
	}
	fields := bytes.Fields(d.text[:n])
	if len(fields) < 2 {
		return 0
	}
	ns, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return time.Duration(ns)
}
