package simulator

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limit is far more than anything here takes.
const limit = 20 * time.Second

// openPty opens a pair that ends with the test.
func openPty(t *testing.T) *Pty {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// openPort opens a slave as a user of the device does.
func openPort(t *testing.T, path string) *os.File {
	t.Helper()
	port, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.Close() })
	if err := port.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return port
}

// write writes in a goroutine, as the other end may have to read meanwhile. The test waits for it.
func write(t *testing.T, w io.Writer, data []byte) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := w.Write(data)
		done <- err
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("write %d bytes: %v", len(data), err)
		}
	})
}

// expect reads as many bytes as are wanted.
func expect(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil {
		t.Fatalf("read %q and then %v, want %q", head(got[:n]), err, head(want))
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %q, want %q", head(got), head(want))
	}
}

func head(b []byte) []byte { return b[:min(len(b), 300)] }

// everyByte is 0 to 255, n times: with control characters, line ends, XON and XOFF.
func everyByte(n int) []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return bytes.Repeat(all, n)
}

func TestPtyChangesNothing(t *testing.T) {
	p := openPty(t)
	port := openPort(t, p.Path())
	if err := p.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	data := everyByte(400) // more than the kernel buffers, so that Write has to wait
	t.Run("from the device", func(t *testing.T) {
		write(t, p, data)
		expect(t, port, data)
	})
	// An echo of what the device said would come first.
	t.Run("to the device", func(t *testing.T) {
		write(t, port, data)
		expect(t, p, data)
	})
}

// Without a slave of its own, the device would read EIO once its first user is gone.
func TestPtyOutlivesItsUsers(t *testing.T) {
	p := openPty(t)
	for range 2 {
		port := openPort(t, p.Path())
		if err := port.Close(); err != nil {
			t.Fatal(err)
		}
		if err := p.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("with nobody there, Read gives %d bytes, %v; want a timeout", n, err)
		}
	}
}

func TestCloseIsAHangUp(t *testing.T) {
	p := openPty(t)
	port, idle := openPort(t, p.Path()), openPort(t, p.Path())
	read := make(chan error, 1)
	go func() {
		_, err := port.Read(make([]byte, 1))
		read <- err
	}()
	for range 2 { // the second does nothing
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-read; !errors.Is(err, io.EOF) && !errors.Is(err, unix.EIO) {
		t.Errorf("a Read that waited gives %v", err)
	}
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, unix.EIO) {
		t.Errorf("a later Read gives %v", err)
	}
	if _, err := idle.Write([]byte("x")); !errors.Is(err, unix.EIO) {
		t.Errorf("a later Write gives %v", err)
	}
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the device's Read gives %v", err)
	}
	if _, err := p.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the device's Write gives %v", err)
	}
}

func TestLink(t *testing.T) {
	folder := t.TempDir()
	name := filepath.Join(folder, "gps")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// In place of a file, of a living device and of itself.
	first, second := openPty(t), openPty(t)
	for _, p := range []*Pty{first, second, second} {
		if err := p.Link(name); err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(name); to != p.Path() || err != nil {
			t.Fatalf("the link is to %s, %v; want %s", to, err, p.Path())
		}
		port := openPort(t, name)
		write(t, p, []byte("hello"))
		expect(t, port, []byte("hello"))
	}
	// What cannot be replaced leaves nothing behind.
	if err := os.MkdirAll(filepath.Join(folder, "full", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := first.Link(filepath.Join(folder, "full")); err == nil {
		t.Error("a folder was replaced")
	}
	if err := first.Link(filepath.Join(folder, "missing", "gps")); err == nil {
		t.Error("a link was made in no folder")
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("the folder holds %v, want full and gps", entries)
	}
}
