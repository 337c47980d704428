package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// A server whose files were deleted does not notice: it goes on with those that it has open, and then waits for others for
// ever. There is nothing left to go on with, so the store begins anew.

// gone lists the streams whose files were deleted.
func (b *Broker) gone() (list []streamOn) {
	for _, s := range b.onFiles() {
		for _, part := range []string{server.JetStreamMetaFile, "msgs"} {
			if _, err := os.Stat(filepath.Join(b.streamDir(s), part)); errors.Is(err, fs.ErrNotExist) {
				list = append(list, s)
				break
			}
		}
	}
	return list
}

// streamDir is where the server keeps a stream.
func (b *Broker) streamDir(s streamOn) string {
	return filepath.Join(b.storeDir(), server.JetStreamStoreDir, string(s.account), "streams", s.name)
}

// lookForGone is look when files are missing. It tells, and makes them anew at the next look: not while they are being
// deleted.
func (b *Broker) lookForGone(ctx context.Context, a *attempts, gone []streamOn) verdict {
	v := verdict{
		state:   ipc.StoreFailed,
		problem: fmt.Sprintf("%s was deleted while it was in use", b.streamDir(gone[0])),
		remedy:  "history and queues begin anew by themselves; stop the supervisor before anything is deleted in its state folder",
	}
	now := time.Now()
	if !a.gone || !a.due(now) {
		a.gone = true
		return v
	}
	a.begin(now)
	err := os.MkdirAll(b.storeDir(), 0o700)
	if err == nil {
		err = b.room()
	}
	if err == nil {
		v.lost, err = b.mend(ctx, gone)
	}
	if err != nil {
		v.problem = fmt.Sprintf("%s; make it anew: %v", v.problem, err)
		return v
	}
	if len(b.gone()) > 0 || b.storeProblem() != "" {
		return v
	}
	return verdict{state: ipc.StoreOK, mended: v.problem, lost: v.lost}
}

// emptied are those of streams that are gone of which no messages are left either.
func (b *Broker) emptied(gone []streamOn) (list []streamOn) {
	for _, s := range gone {
		if _, err := os.Stat(filepath.Join(b.streamDir(s), "msgs")); errors.Is(err, fs.ErrNotExist) {
			list = append(list, s)
		}
	}
	return list
}

// clear removes what is left of streams that were emptied: the server would take them for the same, whose sequences go on.
func (b *Broker) clear(gone []streamOn) error {
	for _, s := range gone {
		if err := os.RemoveAll(b.streamDir(s)); err != nil {
			return err
		}
	}
	return nil
}

// warnGone says what was deleted.
func (b *Broker) warnGone(ctx context.Context, gone []streamOn) {
	if !slices.Contains(gone, streamOn{Traffic, b.subjects.History()}) {
		return
	}
	if f, err := b.HistoryFigures(ctx); err == nil && f.Messages > 0 {
		b.opts.Log.Warn("the history was deleted, it begins anew", "messages", f.Messages, "since", f.First)
	}
}
