package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// startOnDisk starts a gateway whose state folder is a file system of its own, of 24 MiB.
func startOnDisk(t *testing.T, settings ...string) (g *gateway, dir string) {
	t.Helper()
	g = newPluggedGateway(t, settings...)
	dir = g.mount(t, "tmpfs", "tmpfs", "size=24m")
	g.run(t)
	return g, dir
}

// newPluggedGateway is one that does not run yet, with a device that is found by a link.
func newPluggedGateway(t *testing.T, settings ...string) *gateway {
	t.Helper()
	link := filepath.Join(t.TempDir(), "device")
	g := newGateway(t, link, settings...)
	g.link = link
	g.plugIn(t)
	return g
}

// plugIn makes the device of such a gateway, anew after it was unplugged.
func (g *gateway) plugIn(t *testing.T) {
	t.Helper()
	device, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	g.device = device
	if err := device.Link(g.link); err != nil {
		t.Fatal(err)
	}
}

// mount puts a file system under the gateway's state folder, or skips the test.
func (g *gateway) mount(t *testing.T, source, kind, options string) (dir string) {
	t.Helper()
	dir = filepath.Join(g.dir, "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, dir, kind, 0, options); err != nil {
		t.Skipf("NOT TESTED: a file system cannot be mounted here, which takes root: mount %s %s: %v", kind, source, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room but some, and returns what gives it back.
func fill(t *testing.T, dir string, leave int) (free func()) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	size := int64(fs.Bavail)*fs.Bsize - int64(leave)
	if size <= 0 {
		t.Fatalf("%s has %d KiB free, too few to leave %d", dir, int64(fs.Bavail)*fs.Bsize>>10, leave>>10)
	}
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// mountImage puts a file system of its own on a block device under the state folder, one that can be frozen.
func (g *gateway) mountImage(t *testing.T) (dir string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: a disk that hangs. mkfs.ext4: %v: %s", err, out)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("NOT TESTED: a disk that hangs. losetup: %v: %s; it takes root", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", loop).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	return g.mount(t, loop, "ext4", "")
}

// ioctls of a file system, see linux/fs.h: writes hang from the first to the second.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// freeze has writes to a file system hang, until the returned function is called.
func freeze(t *testing.T, dir string) (thaw func()) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0); err != nil {
		t.Fatalf("freeze %s: %v", dir, err)
	}
	thaw = sync.OnceFunc(func() {
		if err := unix.IoctlSetInt(int(f.Fd()), fiThaw, 0); err != nil {
			t.Errorf("thaw %s: %v", dir, err)
		}
		_ = f.Close()
	})
	t.Cleanup(thaw) // before anything waits for the programs
	return thaw
}
