package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// RunOption changes what Run does.
type RunOption func(*runOptions)

type runOptions struct{ readyLater bool }

// ReadyLater leaves it to the function to call Ready, for one that has something to do first. Where the config says
// notify: true, a worker that does not do so within start_timeout is started again.
func ReadyLater() RunOption { return func(o *runOptions) { o.readyLater = true } }

// Run is a worker's main: it connects, tells the supervisor that the worker is ready, calls work, and ends the program. The context ends
// when the worker is asked to stop (SIGTERM, or Ctrl-C), or when the gateway does not let it in any more; a second signal ends the
// program at once.
//
// The exit code is 0 if work returns nil, or the context's error after the worker was asked to stop. It is 1 after any other error, which
// is written to standard error as a line of level error, <3>, as sd-daemon(3) has it.
func Run(work func(ctx context.Context, w *Worker) error, options ...RunOption) {
	os.Exit(run(work, options))
}

func run(work func(ctx context.Context, w *Worker) error, options []RunOption) int {
	var o runOptions
	for _, option := range options {
		option(&o)
	}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(asked, stop) // the next signal does what it does to any program

	err := func() error {
		w, err := Connect(asked)
		if err != nil {
			return err
		}
		defer w.Close()
		ctx, cancel := context.WithCancelCause(asked)
		defer cancel(nil)
		context.AfterFunc(w.open, func() { cancel(context.Cause(w.open)) })
		if !o.readyLater {
			if err := w.Ready(); err != nil {
				return err
			}
		}
		err = work(ctx, w)
		if lost := context.Cause(w.open); lost != nil && asked.Err() == nil {
			err = lost // which is why the work has ended
		}
		return errors.Join(err, w.Stopping())
	}()
	if err == nil || asked.Err() != nil && errors.Is(err, context.Canceled) {
		return 0
	}
	fmt.Fprintf(os.Stderr, "<3>%s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	return 1
}
