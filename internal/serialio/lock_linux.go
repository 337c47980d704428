package serialio

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkFree refuses a device that another program has locked, without opening it: each open(2) would raise DTR on the
// other's line, and a busy port is tried again and again.
func checkFree(device string) error {
	var st unix.Stat_t
	if unix.Stat(device, &st) == nil {
		if _, locked := lockHolder(&st); locked {
			return fmt.Errorf("open %s: %w%s", device, ErrBusy, holderOf(device))
		}
	}
	return nil
}

// lock makes the device ours against every program that asks: flock(2) stops a second locker, even root, and ends with
// the descriptor. A device that another program has made exclusive with TIOCEXCL is busy too, although root could open it.
func lock(fd int, device string) error {
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("open %s: %w%s", device, ErrBusy, holderOf(device))
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", device, err)
	}
	// On a pty the mark outlives its holder, so it says nothing there.
	if exclusive, err := unix.IoctlGetInt(fd, unix.TIOCGEXCL); err == nil && exclusive != 0 && !isPty(fd) {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil {
			if pid := opener(&st, 0); pid != 0 {
				return fmt.Errorf("open %s: %w%s", device, ErrBusy, named(pid))
			}
		}
	}
	return nil
}

// exclude refuses further opens to all but root, which is one more hurdle for programs that know nothing of flock. On a
// pty the mark outlives a killed holder for as long as the master is open, and only root could open it again: there it
// is set only by root.
func exclude(fd int) {
	if isPty(fd) && os.Geteuid() != 0 {
		return
	}
	_ = unix.IoctlSetInt(fd, unix.TIOCEXCL, 0) // a hurdle more, not a condition
}

// holderOf names who has the device, as far as /proc tells this user: " by minicom (pid 4711)". It is empty if nobody
// can be found.
func holderOf(device string) string {
	var st unix.Stat_t
	if unix.Stat(device, &st) != nil {
		return ""
	}
	pid, _ := lockHolder(&st)
	if unix.Kill(pid, 0) == unix.ESRCH || pid == 0 {
		pid = opener(&st, 0) // a child of who took the lock has it now, or the holder cannot be seen
	}
	if pid == 0 {
		return ""
	}
	return named(pid)
}

// Holder finds a process that has a device open, without opening it: the one that has locked it, else any. The pid is 0 if
// there is none, or none that this user can see.
func Holder(device string) (pid int, program string) {
	var st unix.Stat_t
	if unix.Stat(device, &st) != nil {
		return 0, ""
	}
	pid, _ = lockHolder(&st)
	if pid == 0 || unix.Kill(pid, 0) == unix.ESRCH {
		pid = opener(&st, 0)
	}
	if pid == 0 {
		return 0, ""
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // it may have ended
	return pid, strings.TrimSpace(string(name))
}

// Usable says what would keep this user from opening a device, without opening it, as Open would.
func Usable(device string) error {
	if err := checkSerial(device); err != nil {
		return err
	}
	if err := unix.Faccessat(unix.AT_FDCWD, device, unix.R_OK|unix.W_OK, unix.AT_EACCESS); err != nil {
		return openError(device, err)
	}
	return checkFree(device)
}

// parent is a process's parent; 0 if it has ended.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may contain anything; behind it are state and parent. See proc_pid_stat(5).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// named words the holder: " by minicom (pid 4711)".
func named(pid int) string {
	if pid == os.Getpid() {
		return " by another port of this supervisor: two ports name the same device"
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf(" by pid %d", pid)
	}
	return fmt.Sprintf(" by %s (pid %d)", strings.TrimSpace(string(name)), pid)
}

// lockHolder looks for the holder of a flock in /proc/locks, whose lines are, see proc_locks(5):
//
//	1: FLOCK  ADVISORY  WRITE 4711 00:18:5 0 EOF
//
// with the pid and the file system's major:minor (hexadecimal) and inode. The pid is 0 for a holder in another pid
// namespace.
func lockHolder(st *unix.Stat_t) (pid int, locked bool) {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" && fields[5] == file {
			pid, _ := strconv.Atoi(fields[4])
			return pid, true
		}
	}
	return 0, false
}

// OtherHolder finds a process that has a device open, and is neither one with a number nor a child of that, as Holder does.
func OtherHolder(device string, than int) (pid int, program string) {
	var st unix.Stat_t
	if unix.Stat(device, &st) != nil {
		return 0, ""
	}
	if pid = opener(&st, than); pid == 0 {
		return 0, ""
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // it may have ended
	return pid, strings.TrimSpace(string(name))
}

// opener looks for another process that has the device open, and is neither but nor a child of it; 0 is nobody's parent that
// could. Who has the other end of a pseudo-terminal is none.
func opener(st *unix.Stat_t, but int) int {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		var other unix.Stat_t
		if unix.Stat(fd, &other) != nil || other.Mode&unix.S_IFMT != unix.S_IFCHR || other.Rdev != st.Rdev {
			continue
		}
		if pid, _ := strconv.Atoi(strings.Split(fd, "/")[2]); pid != os.Getpid() && pid != but && (but == 0 || parent(pid) != but) && !hasMaster(pid, st) {
			return pid
		}
	}
	return 0
}
