package doctor

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// inContainer says whether this is a container, by what Docker, Podman and others leave in it.
func (x *examination) inContainer() bool {
	for _, mark := range []string{".dockerenv", "run/.containerenv", "run/systemd/container"} {
		if _, err := os.Stat(filepath.Join(x.Root, mark)); err == nil {
			return true
		}
	}
	cgroup, _ := os.ReadFile(filepath.Join(x.Root, "proc", "1", "cgroup"))
	for _, engine := range []string{"docker", "kubepods", "libpod", "lxc"} {
		if strings.Contains(string(cgroup), engine) {
			return true
		}
	}
	return false
}

func (x *examination) container() {
	if x.inContainer() {
		x.note(OK, "pass a device in with --device=/dev/ttyUSB0 or, if it comes and goes, with -v /dev:/dev --device-cgroup-rule 'c 188:* rmw' (166 for ttyACM)",
			"this is a container: it has the devices that were passed in")
	}
}

// leastFree is how much room a disk must have for anything to work.
const leastFree = 16 << 20

// stateFolder looks at the folder and at the disk it is on.
func (x *examination) stateFolder() {
	if x.Running != nil {
		x.note(OK, "", "a supervisor runs on the state folder %s, pid %d", x.StateDir, x.Running.PID)
	}
	if x.Silent != 0 {
		x.note(Warn, "wait if it is being upgraded, starts or stops; else its log says more", "a supervisor has the state folder %s, pid %d, and does not answer", x.StateDir, x.Silent)
	}
	// What is not there yet is made in the nearest folder above that is.
	at := x.StateDir
	for {
		_, err := os.Stat(at)
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	if x.Running == nil {
		if err := unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			x.note(Fail, "choose another with --state-dir or state_dir", "state folder %s cannot be written: %s: %v", x.StateDir, at, err)
			return
		}
		x.note(OK, "", "state folder %s can be written", x.StateDir)
	}
	var disk unix.Statfs_t
	if unix.Statfs(at, &disk) != nil {
		return
	}
	free := int64(disk.Bavail) * disk.Bsize
	wanted := int64(0)
	if x.Config != nil && x.Config.History.Storage == "file" {
		wanted = x.Config.History.MaxBytes - used(filepath.Join(x.StateDir, "store"))
	}
	switch {
	case free < leastFree:
		x.note(Fail, "make room: history and queues cannot be stored", "the disk of %s is full: %d MiB are free", at, free>>20)
	case free < wanted:
		x.note(Warn, "make room, or lower history.max_bytes", "the disk of %s has %d MiB free; the history may grow by %d MiB", at, free>>20, wanted>>20)
	default:
		x.note(OK, "", "the disk of %s has %d MiB free", at, free>>20)
	}
}

// used is how many bytes the files below a folder have.
func used(folder string) (sum int64) {
	_ = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil // what cannot be read does not count
	})
	return sum
}

// broker looks whether the broker can listen where it is to.
func (x *examination) broker() {
	if x.Config == nil || x.Running != nil || x.Silent != 0 {
		return
	}
	address := x.Config.Broker.Listen
	l, err := net.Listen("tcp", address)
	if err != nil {
		x.note(Fail, "set broker.listen to a free one, such as 127.0.0.1:0, or end who has it", "the broker cannot listen at %s: %v", address, errors.Unwrap(err))
		return
	}
	_ = l.Close()
	x.note(OK, "", "the broker can listen at %s", address)
}
