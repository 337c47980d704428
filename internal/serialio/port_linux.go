package serialio

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/tarm/serial"
	"golang.org/x/sys/unix"
)

// Port is an open, configured and locked serial device. It owns three open file descriptions of it, all non-blocking:
//
//	keeper  holds the lock and the line settings, is never read or written and shows a hang-up
//	reader  lent to the reader process
//	writer  lent to the writer process
//
// Reader and writer need descriptions of their own because O_NONBLOCK and wake-ups belong to the description. They stay
// open here while workers come and go: every open(2) of a real tty raises DTR (which resets an Arduino), and the last
// close discards what the device has sent. They are plain numbers and not os.Files, because the runtime's poller would
// wake the owner for every byte that arrives.
type Port struct {
	device       string
	line         LineSettings // as the driver has set them
	lowLatency   bool         // as the driver has set it
	errorsBefore LineErrors   // what the driver had counted before

	mu     sync.Mutex // guards the descriptors: none is closed while it is being lent
	keeper int
	reader int
	writer int
}

const openFlags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NONBLOCK

// Open opens, locks and configures a device. It can block in the kernel for as long as the driver likes, so callers
// that must not wait run it aside. Errors wrap ErrMissing, ErrBusy or neither, see there, and name the remedy where
// there is one.
func Open(device string, s Settings) (_ *Port, err error) {
	p := &Port{device: device, keeper: -1, reader: -1, writer: -1}
	defer func() {
		if err != nil {
			p.closeAll()
		}
	}()
	if err := checkSerial(device); err != nil {
		return nil, err
	}
	if err := checkFree(device); err != nil {
		return nil, err
	}
	if p.keeper, err = open(device); err != nil {
		return nil, err
	}
	before, err := unix.IoctlGetTermios(p.keeper, unix.TCGETS2)
	if err != nil {
		if errors.Is(err, unix.EIO) {
			return nil, fmt.Errorf("open %s: %w: it hung up", device, ErrMissing)
		}
		return nil, withHint(fmt.Errorf("open %s: not a serial device", device), "set device: to a path such as /dev/ttyUSB0 or /dev/serial/by-id/…")
	}
	// The lock comes first: whoever holds it keeps its line settings.
	if err := lock(p.keeper, device); err != nil {
		return nil, err
	}
	port, err := serial.OpenPort(tarmConfig(device, s.Line))
	if err != nil {
		return nil, openError(device, fmt.Errorf("set %s: %w", s.Line, cause(err)))
	}
	// A tarm port that is kept sits in the runtime's poller; the settings stay with the device when it is closed.
	defer func() { _ = port.Close() }()
	for _, fd := range []*int{&p.reader, &p.writer} {
		if *fd, err = open(device); err != nil {
			return nil, err
		}
		if !sameDevice(*fd, p.keeper) {
			return nil, fmt.Errorf("open %s: %w: it was replaced meanwhile", device, ErrMissing)
		}
	}
	if err := p.set(s, decodeLine(before)); err != nil {
		return nil, openError(device, err)
	}
	exclude(p.keeper)
	return p, nil
}

// set gives the device all settings. Nobody has a descriptor yet.
func (p *Port) set(s Settings, before LineSettings) (err error) {
	if p.line, err = configure(p.keeper, s.Line); err != nil {
		return err
	}
	if err := setRS485(p.keeper, s.RS485); err != nil {
		return err
	}
	if err := initModemLines(p.keeper, s); err != nil {
		return err
	}
	if p.lowLatency, err = tuneDriver(p.keeper, s.LowLatency); err != nil {
		return err
	}
	if p.errorsBefore, err = lineErrors(p.keeper); err != nil {
		return err
	}
	if before != p.line && !isPty(p.keeper) {
		// What came in since open(2) was received with other settings, so it is not what the device has said.
		return unix.IoctlSetInt(p.keeper, unix.TCFLSH, unix.TCIFLUSH)
	}
	return nil
}

// Line is the line settings as the driver has set them when the port opened.
func (p *Port) Line() LineSettings { return p.line }

// LowLatency says whether the driver passes received bytes on at once, as far as it tells.
func (p *Port) LowLatency() bool { return p.lowLatency }

// Keeper is the descriptor to watch for a hang-up. It stays the port's, and is not to be used after Close.
func (p *Port) Keeper() int { return p.keeper }

// LendReader passes the descriptor for the reader process to use, which must not keep it. A port that is closed gives
// ErrHangup.
func (p *Port) LendReader(use func(fd uintptr) error) error { return p.lend(&p.reader, use) }

// LendWriter passes the descriptor for the writer process to use, as LendReader does.
func (p *Port) LendWriter(use func(fd uintptr) error) error { return p.lend(&p.writer, use) }

func (p *Port) lend(fd *int, use func(fd uintptr) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *fd < 0 {
		return fmt.Errorf("%s: %w", p.device, ErrHangup)
	}
	return use(uintptr(*fd))
}

// Limits of the wait for the device to take what was written, see Close.
const (
	drainMost  = 700 * time.Millisecond // in all: a full driver buffer of 4 KiB takes 0.36 s at 115200 baud
	drainStuck = 250 * time.Millisecond // when it takes nothing
	drainStep  = 2 * time.Millisecond   // between looks at what the driver holds, which does not tell by itself
)

// Close gives the device back. It waits for the device to take what the driver still holds, for as long as it takes some and
// for drainMost at the longest; what it has not taken then is discarded, as the kernel would wait 30 s for it otherwise. Even
// so a driver may block, so callers that must not wait run it aside. Nothing can be lent from the moment that it is called.
func (p *Port) Close() {
	// All fail when the device is gone, and then do not matter.
	if !isPty(p.keeper) { // who has the other side of a pty can read what was written still
		drain(p.keeper)
		_ = unix.IoctlSetInt(p.keeper, unix.TCFLSH, unix.TCOFLUSH)
	}
	_ = unix.IoctlSetInt(p.keeper, unix.TIOCNXCL, 0)
	p.closeAll()
}

// drain is a tcdrain(3) that ends, also when flow control has stopped the device.
func drain(fd int) {
	began := time.Now()
	held, progress := math.MaxInt, began
	for {
		n, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
		if err != nil || n == 0 {
			return
		}
		now := time.Now()
		if n < held {
			held, progress = n, now
		}
		if now.Sub(began) > drainMost || now.Sub(progress) > drainStuck {
			return
		}
		time.Sleep(drainStep)
	}
}

// closeAll closes outside the lock: a close that blocks must not make a borrower wait.
func (p *Port) closeAll() {
	p.mu.Lock()
	fds := []int{p.writer, p.reader, p.keeper}
	p.writer, p.reader, p.keeper = -1, -1, -1
	p.mu.Unlock()
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// checkSerial refuses what is plainly no serial device before it is opened: to open a FIFO or a tape can have effects.
func checkSerial(device string) error {
	info, err := os.Stat(device)
	if err != nil {
		return openError(device, errors.Unwrap(err))
	}
	kind := ""
	switch mode := info.Mode(); {
	case mode.IsRegular():
		kind = "a regular file"
	case mode.IsDir():
		kind = "a directory"
	case mode&os.ModeCharDevice == 0:
		kind = map[os.FileMode]string{os.ModeNamedPipe: "a named pipe", os.ModeSocket: "a socket", os.ModeDevice: "a block device"}[mode.Type()]
	case isDevice(info, 5, 0):
		kind = "the terminal of who opens it"
	case isDevice(info, 5, 2): // each open(2) makes a terminal that nobody else has
		kind = "what makes new pseudo-terminals"
	default:
		return nil
	}
	return withHint(fmt.Errorf("open %s: it is %s, not a serial device", device, kind),
		"set device: to a path such as /dev/ttyUSB0 or /dev/serial/by-id/…")
}

// isDevice compares the numbers of a device, which are in the kernel's admin-guide/devices.rst.
func isDevice(info os.FileInfo, major, minor uint32) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Rdev == unix.Mkdev(major, minor)
}

func open(device string) (int, error) {
	for {
		fd, err := unix.Open(device, openFlags, 0)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, openError(device, err)
		}
	}
}

// openError sorts what the kernel answered to an open(2) into missing, busy and unusable.
func openError(device string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("open %s: %w", device, ErrMissing)
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("open %s: %w", device, ErrMissing)
	case errors.Is(err, unix.EIO):
		return fmt.Errorf("open %s: %w: %w", device, ErrMissing, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("open %s: %w%s", device, ErrBusy, holderOf(device))
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return withHint(fmt.Errorf("open %s: %w", device, err), "%s", permissionHint(device))
	}
	return fmt.Errorf("open %s: %w", device, err)
}

// permissionHint names the group that may use the device, which is dialout on Debian and uucp elsewhere.
func permissionHint(device string) string {
	group := "dialout"
	if path, err := filepath.EvalSymlinks(device); err == nil {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Gid != 0 {
			if g, err := user.LookupGroupId(strconv.Itoa(int(st.Gid))); err == nil {
				group = g.Name
			}
		}
	}
	who := "the user of the supervisor"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	return fmt.Sprintf("add the user to the group: sudo usermod -aG %s %s, then log in again", group, who)
}

// cause is what the operating system said, without the path, which our own sentence names.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func sameDevice(a, b int) bool {
	var sa, sb unix.Stat_t
	return unix.Fstat(a, &sa) == nil && unix.Fstat(b, &sb) == nil && sa.Rdev == sb.Rdev
}
