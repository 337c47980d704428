package broker

import "context"

// Mend starts the store again, as its watcher does when the disk has room again.
func (b *Broker) Mend(ctx context.Context) error {
	_, err := b.mend(ctx, nil)
	return err
}

// ForgetIDs has the history know no frame by its id.
func ForgetIDs() { surelyKnown = 0 }
