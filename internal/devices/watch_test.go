package devices

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// watch runs a watcher for a path, and returns a channel that gets a value at each change.
func watch(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	w, err := NewWatcher([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	changes := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return w.Run(ctx, func() { changes <- struct{}{} }) })
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	return changes
}

func told(t *testing.T, changes <-chan struct{}, of string) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(20 * time.Second):
		t.Fatalf("not told of %s", of)
	}
	for {
		select {
		case <-changes: // of the same
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

// A folder like /dev/serial/by-id comes with the first device in it and goes with the last.
func TestFoldersThatCome(t *testing.T) {
	root := t.TempDir()
	byID := filepath.Join(root, "serial", "by-id")
	changes := watch(t, filepath.Join(byID, "usb-gps"))
	for _, round := range []string{"once", "and again"} {
		if err := os.MkdirAll(byID, 0o700); err != nil {
			t.Fatal(err)
		}
		told(t, changes, "the folder, "+round)
		if err := os.Symlink("../../ttyUSB0", filepath.Join(byID, "usb-gps")); err != nil {
			t.Fatal(err)
		}
		told(t, changes, "the link, "+round)
		if err := os.WriteFile(filepath.Join(root, "ttyUSB0"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		told(t, changes, "the node, "+round)
		if err := os.Chmod(filepath.Join(root, "ttyUSB0"), 0o660); err != nil {
			t.Fatal(err)
		}
		told(t, changes, "its mode, "+round)
		for _, gone := range []string{filepath.Join(root, "ttyUSB0"), filepath.Join(root, "serial")} {
			if err := os.RemoveAll(gone); err != nil {
				t.Fatal(err)
			}
		}
		told(t, changes, "the end, "+round)
	}
}

// A link that a user has made stays while the device is away.
func TestLinkIntoAnotherFolder(t *testing.T) {
	root, dev := t.TempDir(), t.TempDir()
	link := filepath.Join(root, "gps")
	if err := os.Symlink(filepath.Join(dev, "ttyUSB0"), link); err != nil {
		t.Fatal(err)
	}
	changes := watch(t, link)
	if err := os.WriteFile(filepath.Join(dev, "ttyUSB0"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told(t, changes, "the node")
}
