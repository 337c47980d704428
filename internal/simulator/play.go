package simulator

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// play runs what a device does, each in a goroutine, until ctx ends (nil) or one fails. The Pty's deadlines are its own
// meanwhile, and none in the end, so that the Pty can be played again.
func play(ctx context.Context, p *Pty, speak func(context.Context) error, listen func() error) error {
	group, playing := errgroup.WithContext(ctx)
	interrupted := make(chan struct{})
	context.AfterFunc(playing, func() {
		defer close(interrupted)
		_ = p.SetDeadline(time.Unix(1, 0)) // ends calls that wait
	})
	if speak != nil {
		group.Go(func() error { return speak(playing) })
	}
	group.Go(listen)
	err := group.Wait() // ends playing, if nothing did before
	<-interrupted
	_ = p.SetDeadline(time.Time{})
	if ctx.Err() != nil {
		return nil
	}
	return err
}
