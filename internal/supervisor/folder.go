package supervisor

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/process"
)

// folder is the state folder, which one supervisor at a time holds by a lock on a file in it:
//
//	lock         the holder's pid
//	store/       the broker's streams
//	passwords    of the roles, made once: delete it to have others made at the next start
//	tap.env …    credentials of the roles, while a supervisor runs
//	upgrading    the pid of a supervisor for which another takes over, from when it stops until that answers
//	expiring     frames that wait and can expire, while no supervisor runs
//	family       what marks the families of the supervisor's workers
//	hub-lacks.json  what a hub's stream has refused out of the middle
type folder struct {
	path  string
	lock  *os.File
	files map[string]string // what was written into it, by name

	upgrading bool // it is left to another supervisor
}

// openFolder creates the state folder where needed, and takes it.
func openFolder(path string) (*folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state folder %s cannot be created: %w; choose another with --state-dir or state_dir", path, cause(err))
	}
	lock, err := os.OpenFile(filepath.Join(path, ipc.LockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder %s is not writable: %w; choose another with --state-dir or state_dir", path, cause(err))
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer func() { _ = lock.Close() }()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("state folder %s cannot be locked: %w", path, err)
		}
		holder := ""
		if pid, err := os.ReadFile(lock.Name()); err == nil && len(pid) > 0 {
			holder = fmt.Sprintf(" (pid %s)", strings.TrimSpace(string(pid)))
		}
		return nil, fmt.Errorf("state folder %s is held by another supervisor%s; stop it, or choose another folder with --state-dir", path, holder)
	}
	// Only now is the file ours to write.
	if err := lock.Truncate(0); err == nil {
		_, err = fmt.Fprintf(lock, "%d\n", os.Getpid())
		if err != nil {
			_ = lock.Close()
			return nil, fmt.Errorf("state folder %s is not writable: %w", path, cause(err))
		}
	}
	return &folder{path: path, lock: lock, files: map[string]string{}}, nil
}

// newFamily makes up what marks the families of this supervisor's workers. What is left of those of one before, which was
// killed with its guard, is killed first, so that there are never two.
func (f *folder) newFamily() (mark string, err error) {
	path := filepath.Join(f.path, "family")
	if old, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(old), process.MarkName+"=") {
		process.KillMarked(string(old))
	}
	mark = process.MarkName + "=" + rand.Text() + "."
	if err := os.WriteFile(path, []byte(mark), 0o600); err != nil {
		return "", fmt.Errorf("state folder %s is not writable: %w", f.path, cause(err))
	}
	f.files["family"] = mark
	return mark, nil
}

// passwords are those of the roles, which last: a client of any kind that was given one finds its way back after a restart.
func (f *folder) passwords() (map[ipc.Role]string, error) {
	passwords := map[ipc.Role]string{}
	path := filepath.Join(f.path, "passwords")
	if text, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(text, &passwords); err != nil {
			return nil, fmt.Errorf("%s is damaged: %w; delete it, and other passwords are made", path, err)
		}
	}
	complete := true
	for _, role := range ipc.Roles {
		if passwords[role] == "" {
			passwords[role], complete = broker.NewPassword(), false
		}
	}
	text, err := json.Marshal(passwords)
	if err != nil {
		return nil, err
	}
	if complete {
		f.files["passwords"] = string(text)
		return passwords, nil
	}
	return passwords, f.write("passwords", string(text))
}

// grants are those of the roles, in their order.
func (f *folder) grants(b *broker.Broker) (list []broker.Grant, err error) {
	passwords, err := f.passwords()
	if err != nil {
		return nil, err
	}
	for _, role := range ipc.Roles {
		g := b.RoleGrant(role)
		g.Password = passwords[role]
		list = append(list, g)
	}
	return list, nil
}

// writeCredentials leaves the credentials of the roles, which were let in, in the folder.
func (f *folder) writeCredentials(b *broker.Broker, grants []broker.Grant) error {
	for i, role := range ipc.Roles {
		if err := f.write(role.EnvFile(), b.Credentials(grants[i]).EnvLines()); err != nil {
			return err
		}
	}
	return nil
}

// write replaces a file, which restore makes again.
func (f *folder) write(name, content string) error {
	if err := replace(filepath.Join(f.path, name), content); err != nil {
		return err
	}
	f.files[name] = content
	return nil
}

// replace replaces a file at once, so that nobody reads half of it. Its owner alone may read it from the start.
func replace(path, content string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	_, err = temporary.WriteString(content)
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	return nil
}

// restore makes the folder again as it was, and takes it again, where it was deleted.
func (f *folder) restore() error {
	ours, err := f.lock.Stat()
	if err != nil {
		return err
	}
	if found, err := os.Stat(f.lock.Name()); err == nil && os.SameFile(ours, found) {
		return nil
	}
	again, err := openFolder(f.path)
	if err != nil {
		return err
	}
	_ = f.lock.Close() // of a file without a name
	f.lock = again.lock
	for name, content := range f.files {
		if err := f.write(name, content); err != nil {
			return err
		}
	}
	return nil
}

// upgrade says that the folder is left to another supervisor in this process. Without it, programs that are started before
// that one has the lock would say that there is none.
func (f *folder) upgrade() error {
	path := filepath.Join(f.path, ipc.UpgradingFile)
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	f.upgrading = true
	return nil
}

// upgraded takes back what upgrade has said, of this supervisor or the one before.
func (f *folder) upgraded() {
	f.upgrading = false
	_ = os.Remove(filepath.Join(f.path, ipc.UpgradingFile)) // there is none at most starts
}

// close takes the credentials away, which are of no use any more, and lets go of the folder.
func (f *folder) close() {
	for _, role := range ipc.Roles {
		_ = os.Remove(filepath.Join(f.path, role.EnvFile()))
	}
	if !f.upgrading {
		f.upgraded()
	}
	_ = f.lock.Close()
}

// orFull puts what helps in place of an error for which a full disk is the cause.
func orFull(path string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the disk under %s is full: make room there, or choose another folder with --state-dir or state_dir (%w)", path, err)
	}
	return err
}

// cause is what the operating system said, without the path, which our own sentence names.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
