package devices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Watcher tells when a device may have come, or may be used now that udev has given it its group. It looks at folders and
// never at devices.
type Watcher struct {
	fs    *fsnotify.Watcher
	paths []string
}

// gather is how long a change waits for more of it: a device that is plugged in makes several within a millisecond.
const gather = 5 * time.Millisecond

// NewWatcher watches for devices at paths, which need not be there, nor their folders, and in /dev. Run ends it.
func NewWatcher(paths []string) (*Watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch for devices: %w", err)
	}
	w := &Watcher{fs: fs, paths: append([]string{"/dev/any"}, paths...)}
	w.follow()
	return w, nil
}

// Run calls changed soon after something has changed where a device could come, until ctx ends. Changes during a call are
// told by another.
func (w *Watcher) Run(ctx context.Context, changed func()) error {
	defer func() { _ = w.fs.Close() }()
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.fs.Events:
			if !ok {
				return errors.New("watch for devices: the watch has ended")
			}
			if due == nil && e.Op&(fsnotify.Create|fsnotify.Chmod|fsnotify.Remove|fsnotify.Rename) != 0 {
				due = time.After(gather)
			}
		case <-w.fs.Errors:
			if due == nil { // events were lost
				due = time.After(gather)
			}
		case <-due:
			due = nil
			// What came into a folder before it was watched had no event.
			for w.follow() {
			}
			changed()
		}
	}
}

// follow watches the folder of each path, or its nearest ancestor that is there, and those of what it links to: udev
// removes /dev/serial/by-id when it is empty. It says whether there is one more than before.
func (w *Watcher) follow() (more bool) {
	watched := w.fs.WatchList()
	for _, path := range w.paths {
		for range 8 { // links, at most
			if dir := nearestDir(path); !slices.Contains(watched, dir) && w.fs.Add(dir) == nil {
				watched = append(watched, dir)
				more = true
			}
			target, err := os.Readlink(path)
			if err != nil {
				break
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(path), target)
			}
			path = target
		}
	}
	return more
}

// nearestDir is the folder of path or, if it is not there, the nearest above it that is.
func nearestDir(path string) string {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() || dir == filepath.Dir(dir) {
			return dir
		}
	}
}
