package serialio_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/serialio"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

var settings = func() serialio.Settings {
	s := serialio.DefaultSettings()
	s.Line.Baud = 9600
	return s
}()

func device(t *testing.T) *simulator.Pty {
	t.Helper()
	p, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func open(t *testing.T, path string) *serialio.Port {
	t.Helper()
	p, err := serialio.Open(path, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestOpenConfigures(t *testing.T) {
	p := open(t, device(t).Path())
	termios, err := unix.IoctlGetTermios(p.Keeper(), unix.TCGETS2)
	if err != nil {
		t.Fatal(err)
	}
	if termios.Ospeed != 9600 {
		t.Errorf("the speed is %d, want 9600", termios.Ospeed)
	}
	if termios.Iflag&unix.IGNPAR != 0 {
		t.Error("bytes with a parity error would be dropped")
	}
	if termios.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 || termios.Iflag&(unix.ICRNL|unix.IXON) != 0 || termios.Oflag&unix.OPOST != 0 {
		t.Errorf("the terminal is not raw: iflag %#x, oflag %#x, lflag %#x", termios.Iflag, termios.Oflag, termios.Lflag)
	}
}

// Each borrower has an open file description of its own, so that what one does to its flags is nothing to the other.
func TestDescriptionsAreApart(t *testing.T) {
	p := open(t, device(t).Path())
	if err := p.LendReader(func(fd uintptr) error { return unix.SetNonblock(int(fd), false) }); err != nil {
		t.Fatal(err)
	}
	check := func(fd uintptr) error {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err == nil && flags&unix.O_NONBLOCK == 0 {
			err = errors.New("it became blocking with the reader's")
		}
		return err
	}
	if err := p.LendWriter(check); err != nil {
		t.Errorf("the writer's descriptor: %v", err)
	}
	if err := check(uintptr(p.Keeper())); err != nil {
		t.Errorf("the keeper's descriptor: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	regular := filepath.Join(dir, "file")
	if err := os.WriteFile(regular, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, want string
		is         error
	}{
		{filepath.Join(dir, "none"), "no such device", serialio.ErrMissing},
		{filepath.Join(regular, "below"), "no such device", serialio.ErrMissing},
		{regular, "it is a regular file, not a serial device (set device:", nil},
		{dir, "it is a directory", nil},
		{fifo, "it is a named pipe, not a serial device", nil},
		{"/dev/ptmx", "it is what makes new pseudo-terminals, not a serial device (set device:", nil},
		{"/dev/tty", "it is the terminal of who opens it, not a serial device (set device:", nil},
		{"/dev/null", "not a serial device (set device:", nil},
	} {
		p, err := serialio.Open(c.path, settings)
		if p != nil {
			p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("Open(%s) = %v, want an error with the path and %q", c.path, err, c.want)
		}
		if c.is != nil && !errors.Is(err, c.is) || c.is == nil && (errors.Is(err, serialio.ErrMissing) || errors.Is(err, serialio.ErrBusy)) {
			t.Errorf("Open(%s) = %v, is of the wrong kind", c.path, err)
		}
	}
}

func TestSecondOpenIsBusy(t *testing.T) {
	d := device(t)
	p := open(t, d.Path())
	_, err := serialio.Open(d.Path(), settings)
	if !errors.Is(err, serialio.ErrBusy) || !strings.Contains(err.Error(), "two ports name the same device") {
		t.Errorf("second Open = %v, want ErrBusy that says that two ports name the device", err)
	}
	p.Close()
	open(t, d.Path())
}

func TestBusyNamesTheHolder(t *testing.T) {
	d := device(t)
	holder := exec.Command("flock", "--no-fork", d.Path(), "sleep", "600")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	deadline := time.Now().Add(30 * time.Second)
	for {
		p, err := serialio.Open(d.Path(), settings)
		if err == nil {
			p.Close() // it has not locked yet
		} else if errors.Is(err, serialio.ErrBusy) && strings.Contains(err.Error(), "by sleep (pid ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Open = %v, want ErrBusy that names sleep and its pid", err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestLendAfterClose(t *testing.T) {
	p := open(t, device(t).Path())
	p.Close()
	err := p.LendReader(func(uintptr) error { t.Error("a closed descriptor was lent"); return nil })
	if !errors.Is(err, serialio.ErrHangup) {
		t.Errorf("LendReader after Close = %v, want ErrHangup", err)
	}
}

// A hundred opens, closes and hang-ups leave no descriptor behind.
func TestNoDescriptorLeaks(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	cycle := func() {
		d, err := simulator.Open()
		if err != nil {
			t.Fatal(err)
		}
		p, err := serialio.Open(d.Path(), settings)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := serialio.Open(d.Path(), settings); err == nil {
			t.Fatal("a second Open succeeded")
		}
		_ = d.Close()
		p.Close()
	}
	cycle() // what the runtime opens once
	before := count()
	for range 100 {
		cycle()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors are open after a hundred ports, %d before", after, before)
	}
}
