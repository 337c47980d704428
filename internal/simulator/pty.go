// Package simulator makes serial devices out of pseudo-terminals, for the demo, for replaying, for the tests and the benchmark.
package simulator

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pty is a pseudo-terminal pair: the device plays on the master, and its users open the slave at Path. It owns both ends;
// the slave's is kept open, unless LetGo was called, as the master reads EIO while nobody has the port open.
type Pty struct {
	master *os.File
	path   string

	mu    sync.Mutex // guards slave
	slave int
}

// Open makes a pair. The slave is raw, so that nothing is echoed or changed before a user has configured it.
func Open() (*Pty, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	p := &Pty{master: os.NewFile(uintptr(master), "pty"), slave: -1}
	if err := p.openSlave(master); err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	return p, nil
}

func (p *Pty) openSlave(master int) error {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	number, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return err
	}
	p.path = fmt.Sprintf("/dev/pts/%d", number)
	if p.slave, err = unix.Open(p.path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	t, err := unix.IoctlGetTermios(p.slave, unix.TCGETS)
	if err != nil {
		return err
	}
	// As cfmakeraw(3) does.
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	return unix.IoctlSetTermios(p.slave, unix.TCSETS, t)
}

// Path is the slave's, such as /dev/pts/3.
func (p *Pty) Path() string { return p.path }

// Link makes path a symbolic link to the slave, in place of what was there: a device that is plugged in again has its
// old name. Close leaves the link, and the system soon gives the slave's number to another pair: who unplugs a device for
// longer removes its link first.
func (p *Pty) Link(path string) error {
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Symlink(p.path, temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return nil
}

// Read receives what was sent to the device.
func (p *Pty) Read(b []byte) (int, error) { return p.master.Read(b) }

// Write says all of b, and waits while the port's buffer is full: it holds about 20 KB that nobody reads.
func (p *Pty) Write(b []byte) (int, error) { return p.master.Write(b) }

// SetReadDeadline ends a Read at a time; the zero time never.
func (p *Pty) SetReadDeadline(t time.Time) error { return p.master.SetReadDeadline(t) }

// SetDeadline ends a Read or Write at a time; the zero time never.
func (p *Pty) SetDeadline(t time.Time) error { return p.master.SetDeadline(t) }

// Close unplugs the device: whoever has the port open sees a hang-up. It is safe to call twice.
func (p *Pty) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The master first: without the slave, a Read that waits would fail with EIO, not os.ErrClosed.
	err := p.master.Close()
	if p.slave >= 0 {
		_ = unix.Close(p.slave)
		p.slave = -1
	}
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
