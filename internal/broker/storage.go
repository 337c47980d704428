package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// A stream cannot change its storage, nor its name. What it holds must not be lost when the config does.

// historyAside is where the files of the history are while it is kept in memory.
func (b *Broker) historyAside() string { return filepath.Join(b.opts.StateDir, "history-aside") }

// settleHistory puts the files of a history aside that is kept in memory from now on, and back when it is kept in files
// again. The server must not run.
func (b *Broker) settleHistory() error {
	files, aside := b.streamDir(streamOn{Traffic, b.subjects.History()}), b.historyAside()
	here, err := exists(filepath.Join(files, server.JetStreamMetaFile))
	if err != nil {
		return err
	}
	kept, err := exists(aside)
	if err != nil {
		return err
	}
	switch h := b.opts.History; {
	case h.Memory && here && kept:
		return fmt.Errorf("the history is in memory from now on, and both %s and %s hold one from before: move one of them to another place", files, aside)
	case h.Memory && here:
		b.opts.Log.Warn("the history is in memory from now on; what was stored before is put aside", "folder", aside,
			"remedy", "set history.storage: file again to read it")
		return moveFolder(files, aside)
	case !h.Off && !h.Memory && !here && kept:
		b.opts.Log.Info("the history is in files again, with what had been put aside", "folder", aside)
		return moveFolder(aside, files)
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func moveFolder(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// changeStorage empties the streams whose storage has changed, so that they can be made anew, into one for what is on its way.
// From there it is moved on like all that is in a stream where it does not belong. It returns the ports for which that is so.
func (b *Broker) changeStorage(ctx context.Context, existing []*jetstream.StreamInfo) (waiting []string, err error) {
	for _, old := range existing {
		planned := b.plannedAs(old.Config.Name)
		if planned == nil || planned.limits.Memory == (old.Config.Storage == jetstream.MemoryStorage) || old.State.Msgs == 0 {
			continue
		}
		if err := b.narrow(ctx, old, planned.ports, false); err != nil {
			return nil, err
		}
		for subject := range old.State.Subjects {
			if err := b.gather(ctx, existing, subject, ""); err != nil {
				return nil, err
			}
		}
		waiting = append(waiting, b.waitingIn(old, planned.ports)...)
	}
	return waiting, nil
}
