package serialio

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ptsMajor is the device number of pseudo-terminals' slaves, UNIX98_PTY_SLAVE_MAJOR in linux/major.h.
const ptsMajor = 136

// hasMaster says whether a process has the other end of a pseudo-terminal. It plays the device, and keeps the slave open, as socat
// does, only so that the terminal outlives its users: it takes no bytes from them.
func hasMaster(pid int, slave *unix.Stat_t) bool {
	if unix.Major(uint64(slave.Rdev)) != ptsMajor {
		return false
	}
	// As the kernel's ptmx driver tells it, see pty_show_fdinfo in drivers/tty/pty.c.
	want := fmt.Sprintf("tty-index:\t%d", unix.Minor(uint64(slave.Rdev)))
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, info := range infos {
		if target, err := os.Readlink(strings.Replace(info, "/fdinfo/", "/fd/", 1)); err != nil || !strings.HasSuffix(target, "ptmx") {
			continue
		}
		if hasLine(info, want) {
			return true
		}
	}
	return false
}

func hasLine(path, want string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if lines.Text() == want {
			return true
		}
	}
	return false
}
