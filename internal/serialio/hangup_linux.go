package serialio

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// HangupWatcher tells when devices go away, for any number of ports with one thread. The kernel wakes it for a hang-up
// only and not for data: the descriptors are watched for no event, and EPOLLHUP and EPOLLERR always come, see epoll_ctl(2).
type HangupWatcher struct {
	epoll int
	wake  int // eventfd that ends Run

	mu    sync.Mutex // guards ports
	ports map[int32]chan struct{}
}

// NewHangupWatcher makes a watcher; Run does the watching and frees it.
func NewHangupWatcher() (*HangupWatcher, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch for hang-ups: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch for hang-ups: %w", err)
	}
	w := &HangupWatcher{epoll: epoll, wake: wake, ports: map[int32]chan struct{}{}}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		return nil, fmt.Errorf("watch for hang-ups: %w", err)
	}
	return w, nil
}

// Watch returns a channel that is closed when the device behind fd hangs up. Forget(fd) must come before fd is closed.
func (w *HangupWatcher) Watch(fd int) (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gone := make(chan struct{})
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd)}); err != nil {
		return nil, fmt.Errorf("watch for a hang-up: %w", err)
	}
	w.ports[int32(fd)] = gone
	return gone, nil
}

// Forget ends the watch of fd.
func (w *HangupWatcher) Forget(fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(int32(fd))
}

// drop must be called with mu held. An event that stays pending would wake the watcher for ever, hence it is removed.
func (w *HangupWatcher) drop(fd int32) {
	if _, ok := w.ports[fd]; ok {
		delete(w.ports, fd)
		_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, int(fd), nil)
	}
}

// Run watches until ctx ends.
func (w *HangupWatcher) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer stop()
	events := make([]unix.EpollEvent, 64)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch for hang-ups: %w", err)
		}
		w.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			if gone, ok := w.ports[e.Fd]; ok {
				close(gone)
				w.drop(e.Fd)
			}
		}
		w.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = unix.Close(w.epoll) // the eventfd stays open: AfterFunc may still write to it
	w.epoll = -1
	return nil
}
