package simulator

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// openAlone makes a pair whose port nobody has open.
func openAlone(t *testing.T) *Pty {
	t.Helper()
	p := openPty(t)
	for range 2 { // the second does nothing
		if err := p.LetGo(); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func mustBe(t *testing.T, what string, ask func() (bool, error), want bool) {
	t.Helper()
	if got, err := ask(); got != want || err != nil {
		t.Fatalf("%s: %t, %v; want %t", what, got, err, want)
	}
}

func TestPtyTellsOfItsUser(t *testing.T) {
	p := openAlone(t)
	mustBe(t, "opened", p.Opened, false)
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, unix.EIO) {
		t.Fatalf("with nobody there, Read gives %v", err)
	}
	mustBe(t, "unread", p.Unread, false)
	if _, err := p.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	mustBe(t, "unread", p.Unread, true)
	for range 2 {
		port := openPort(t, p.Path())
		mustBe(t, "opened", p.Opened, true)
		if _, err := p.Write([]byte("more")); err != nil {
			t.Fatal(err)
		}
		mustBe(t, "unread", p.Unread, true)
		mustBe(t, "opened", p.Opened, true)
		expect(t, port, []byte("earlymore"))
		mustBe(t, "unread", p.Unread, false)
		if _, err := p.Write([]byte("early")); err != nil {
			t.Fatal(err)
		}
		if err := port.Close(); err != nil {
			t.Fatal(err)
		}
		mustBe(t, "opened", p.Opened, false)
		mustBe(t, "unread", p.Unread, true) // it is kept for the next user
	}
}

// Guards against a port that seems read because its user wants many bytes at once.
func TestUnreadCountsWhatDoesNotWakeItsUser(t *testing.T) {
	p := openAlone(t)
	openPort(t, p.Path())
	onPort(t, p.Path(), func(fd int) error {
		s, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		s.Cc[unix.VMIN] = 200
		return unix.IoctlSetTermios(fd, unix.TCSETS, s)
	})
	if _, err := p.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	mustBe(t, "unread", p.Unread, true)
}

// onPort has a call made with a descriptor of a port.
func onPort(t *testing.T, path string, call func(fd int) error) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := call(fd); err != nil {
		t.Fatal(err)
	}
}

// A port that is held exclusively does not tell what was read, but for root: a thread without root's rights asks.
func TestUnreadOfAnExclusivePort(t *testing.T) {
	p := openAlone(t)
	openPort(t, p.Path())
	exclusively(t, p)
	asked := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		none := make([]unix.CapUserData, 2)
		if err := unix.Capset(&head, &none[0]); err != nil {
			asked <- err
			return
		}
		_, err := p.Unread()
		asked <- err
	}()
	if err := <-asked; !errors.Is(err, ErrExclusive) {
		t.Errorf("%v, want %v", err, ErrExclusive)
	}
}

func exclusively(t *testing.T, p *Pty) {
	t.Helper()
	onPort(t, p.Path(), func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCEXCL, 0) })
}
