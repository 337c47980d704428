package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A family in a control group of its own can be killed whole, whatever its members have done to be their own: see the
// cgroup.kill of cgroups(7). Only a part of the tree that was delegated to us is ours to make groups in.

// groupPrefix begins the names of the groups of families; their marks follow.
const groupPrefix = "family-"

// delegated is the folder of this process's control group if that was delegated to it, as systemd does with Delegate=yes, and
// the kernel can kill groups; else empty.
func delegated() string {
	dir, err := ownGroup()
	if err != nil || !isDelegated(dir) || unix.Access(dir, unix.W_OK) != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil { // there is none before Linux 5.14
		return ""
	}
	// A process is begun in its group by clone3(2), as it could fork before it was moved there. Filters of system calls that cannot
	// look into its arguments, as those of RestrictNamespaces=, say that there is no such call.
	if _, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0); errno == unix.ENOSYS {
		return ""
	}
	return dir
}

// ownGroup is the folder of this process's control group in the unified hierarchy.
func ownGroup() (string, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return groupFolder(string(groups), string(mounts))
}

// groupFolder finds the folder from the texts of proc_pid_cgroup(5) and proc_pid_mountinfo(5).
func groupFolder(groups, mounts string) (string, error) {
	for line := range strings.Lines(groups) {
		group, unified := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !unified {
			continue
		}
		for line := range strings.Lines(mounts) {
			mount, rest, _ := strings.Cut(line, " - ")
			fields := strings.Fields(mount)
			if len(fields) < 5 || !strings.HasPrefix(rest, "cgroup2 ") {
				continue
			}
			// A container may see a part of the tree only, below the mount's root.
			within, err := filepath.Rel(fields[3], group)
			if err != nil || within == ".." || strings.HasPrefix(within, "../") {
				continue
			}
			return filepath.Join(unescape(fields[4]), within), nil
		}
	}
	return "", errors.New("this process is in no control group of the unified hierarchy")
}

// unescape undoes what mountinfo does to blanks and their like.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// isDelegated looks for the mark that systemd leaves on a group that it has given away.
func isDelegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(dir, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// makeGroup makes the group of a family and opens it.
func makeGroup(delegated, mark string) (dir string, fd int, err error) {
	dir = groupOf(delegated, mark)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", -1, fmt.Errorf("control group of a worker: %w", err)
	}
	if fd, err = unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		_ = os.Remove(dir)
		return "", -1, fmt.Errorf("control group of a worker: open %s: %w", dir, err)
	}
	return dir, fd, nil
}

// groupOf is the folder of a family's group.
func groupOf(delegated, mark string) string {
	_, value, _ := strings.Cut(mark, "=")
	return filepath.Join(delegated, groupPrefix+value)
}

// killGroups kills the families of which the marks begin with mark, and removes their groups.
func killGroups(delegated, mark string) {
	groups, _ := os.ReadDir(delegated)
	for _, group := range groups {
		if dir := filepath.Join(delegated, group.Name()); strings.HasPrefix(dir, groupOf(delegated, mark)) {
			killGroup(dir, func() {})
		}
	}
}

// killGroup kills all processes of a group and removes it. reap is called while they end.
func killGroup(dir string, reap func()) {
	for end := time.Now().Add(killLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) != nil {
			return // it is gone
		}
		reap()
		if removeGroup(dir) == nil { // which it cannot be before it is empty
			return
		}
	}
}

// removeGroup removes a group with those that its processes have made in it.
func removeGroup(dir string) error {
	inside, _ := os.ReadDir(dir)
	for _, entry := range inside {
		if entry.IsDir() {
			_ = removeGroup(filepath.Join(dir, entry.Name()))
		}
	}
	return os.Remove(dir)
}

// inFamily says whether a process is in the group of a family.
func inFamily(pid int) bool {
	groups, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	return strings.Contains(string(groups), "/"+groupPrefix)
}
