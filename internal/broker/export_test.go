package broker

import "context"

// Mend starts the store again, as its watcher does when the disk has room again.
func (b *Broker) Mend(ctx context.Context) error { return b.mend(ctx) }
