// Package interrupt hears who asks for the end of a program by SIGINT or SIGTERM, from the first moment on. It imports next to nothing,
// so that it is initialized before what takes its time: until then such a signal kills the program, as the Go runtime lets nobody
// block it.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

var (
	heard = make(chan os.Signal, 2)
	asked sync.WaitGroup // the goroutine of Context
)

func init() { signal.Notify(heard, syscall.SIGINT, syscall.SIGTERM) }

// Context ends when the end is asked for. At the second time again is called. It may be called once.
func Context(again func()) context.Context {
	ctx, end := context.WithCancel(context.Background())
	asked.Go(func() { // until Cease, or as long as the process
		for range heard {
			if ctx.Err() != nil {
				again()
			}
			end()
		}
	})
	return ctx
}

// Cease is for a program that is about to be replaced by another, see execve(2): whoever asks from now on ends the process at once, and
// what was asked for before has ended the Context when it returns. So nobody is not heard. It may be called once.
func Cease() {
	signal.Stop(heard) // waits for what is on its way
	close(heard)
	asked.Wait()
}
