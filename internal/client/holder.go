package client

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// comesUp is how long is waited for a supervisor that has the state folder and does not answer: in an upgrade that takes some
// tenths of a second.
const comesUp = 10 * time.Second

// Holder is a supervisor that has a state folder, whether it answers or not.
type Holder struct {
	PID       int
	Upgrading bool // another takes its place
}

// Holder says who has the state folder. The lock itself is not tried, as a supervisor that is started in that moment would find it
// taken.
func (p Place) Holder() (h Holder, ok bool) {
	if pid := pidIn(filepath.Join(p.StateDir, ipc.UpgradingFile)); pid != 0 && runs(pid) {
		return Holder{pid, true}, true
	}
	path := filepath.Join(p.StateDir, ipc.LockFile)
	info, err := os.Stat(path)
	if err != nil {
		return Holder{}, false
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return Holder{}, false
	}
	defer func() { _ = locks.Close() }()
	pid := pidIn(path)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		if holds(lines.Text(), pid, info) {
			return Holder{PID: pid}, true
		}
	}
	return Holder{}, false
}

// holds says whether a line of /proc/locks is that of a process with a file. The device in it is not always that of stat(2).
//
//	1: FLOCK  ADVISORY  WRITE 2218 fe:00:131112 0 EOF
func holds(line string, pid int, file fs.FileInfo) bool {
	stat, known := file.Sys().(*syscall.Stat_t)
	fields := strings.Fields(line)
	return known && len(fields) > 5 && fields[1] == "FLOCK" && fields[4] == strconv.Itoa(pid) &&
		strings.HasSuffix(fields[5], fmt.Sprintf(":%d", stat.Ino))
}

// pidIn is the pid in a file; 0: there is none.
func pidIn(path string) int {
	text, _ := os.ReadFile(path)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

// silent says that a supervisor does not answer that has the folder.
func (h Holder) silent(p Place, cause error) error {
	if h.Upgrading {
		return fmt.Errorf("an upgrade of the supervisor on the state folder %s (pid %d) is under way, and it has not answered for %s; try again: %w", p.StateDir, h.PID, comesUp, cause)
	}
	return fmt.Errorf("the supervisor on the state folder %s (pid %d) starts or stops, or hangs, and has not answered for %s; its log says more: %w", p.StateDir, h.PID, comesUp, cause)
}

// byEnviron says whether the supervisor is found by the environment. Of such a one nobody knows who runs it.
func (p Place) byEnviron() bool { return p.Environ && os.Getenv(ipc.EnvURL) != "" }
