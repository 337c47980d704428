package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// errUpgrade ends a worker that is to become another program.
var errUpgrade = errors.New("the supervisor is upgraded")

// untilUpgrade ends when ctx does, and with errUpgrade by SIGUSR2.
func untilUpgrade(ctx context.Context) (_ context.Context, stop func()) {
	ctx, end := context.WithCancelCause(ctx)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	go func() { // ends with ctx
		select {
		case <-asked:
			end(errUpgrade)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { end(nil) }
}

// usualFirst is where the descriptors of a successor begin, if it can be.
const usualFirst = 64

// firstFree is where so many descriptors in a row are free. They are not moved to where those of this program are, as the runtime needs
// some of those until the end.
func firstFree(count int) (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	most := int(min(limit.Cur, 1<<16))
	for _, from := range []int{usualFirst, ipc.FDFirst} {
		free := 0
		for fd := from; fd < most; fd++ {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				free = 0
			} else if free++; free == count {
				return fd - count + 1, nil
			}
		}
	}
	return 0, fmt.Errorf("there are no %d free descriptors in a row below %d; raise the limit: LimitNOFILE= in the service's unit", count, most)
}

// becomeSuccessor waits for the program that goes on in this process and becomes it. It returns io.EOF if there is none, and any
// error only while nothing is lost: all that a worker has is in its port's memory.
func becomeSuccessor() error {
	socket := ipc.Descriptor(ipc.FDSuccessor)
	if _, err := unix.Write(socket, []byte(ipc.Waiting)); err != nil {
		return fmt.Errorf("tell the supervisor: %w", err)
	}
	next, files, err := ipc.ReceiveSuccessor(socket)
	if err != nil {
		return err
	}
	if len(files) < ipc.FDFirst {
		return fmt.Errorf("the successor has %d descriptors", len(files))
	}
	if err := closeAllOnExec(); err != nil {
		return err
	}
	first, err := firstFree(len(files) - ipc.FDFirst)
	if err != nil {
		return err
	}
	for i, fd := range files {
		to := i
		if i >= ipc.FDFirst {
			to = first + i - ipc.FDFirst
		}
		if err := unix.Dup3(fd, to, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	env := append(next.Env, ipc.EnvFirstFD+"="+strconv.Itoa(first))
	return fmt.Errorf("become %s: %w", next.Path, syscall.Exec(next.Path, []string{next.Path}, env))
}

// closeAllOnExec keeps descriptors of this program from the next one.
func closeAllOnExec() error {
	open, err := filepath.Glob("/proc/self/fd/*")
	for _, path := range open {
		if fd, err := strconv.Atoi(filepath.Base(path)); err == nil && fd >= ipc.FDFirst {
			unix.CloseOnExec(fd) // one that is closed meanwhile needs none
		}
	}
	return err
}

// succeeded says how a worker ends that did not become another.
func (w *Worker) succeeded(err error) int {
	if errors.Is(err, io.EOF) {
		return ipc.ExitOK
	}
	w.Log.Error("no successor goes on in this process", "error", err)
	return ipc.ExitFailed
}
