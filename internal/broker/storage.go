package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// changeStorage moves what waits in streams whose storage has changed into one of its own, so that they can be made anew. From
// there it is moved on like all that is in a stream where it does not belong.
func (b *Broker) changeStorage(ctx context.Context) error {
	existing, err := b.queueStreams(ctx)
	if err != nil {
		return err
	}
	for _, old := range existing {
		i := slices.IndexFunc(b.planned(), func(s stream) bool { return s.name == old.Config.Name })
		if i < 0 || b.planned()[i].limits.Memory == (old.Config.Storage == jetstream.MemoryStorage) || old.State.Msgs == 0 {
			continue
		}
		if err := b.putAside(ctx, old); err != nil {
			return err
		}
	}
	return nil
}

// putAside empties a stream of the queue into the one for what is on its way.
func (b *Broker) putAside(ctx context.Context, old *jetstream.StreamInfo) error {
	var ports []string
	for _, subject := range old.Config.Subjects {
		ports = append(ports, strings.TrimSuffix(strings.TrimPrefix(subject, b.opts.Root+"."), ".tx"))
	}
	if err := b.narrow(ctx, old, ports, true); err != nil {
		return err
	}
	config := jetstream.StreamConfig{
		Name: b.subjects.QueueOf("~moving"), Description: "frames that wait to be moved to another stream",
		Retention: jetstream.WorkQueuePolicy, Duplicates: duplicates, AllowMsgTTL: true,
	}
	switch aside, err := b.js.Stream(ctx, config.Name); {
	case err == nil:
		config.Subjects = aside.CachedInfo().Config.Subjects
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("stream %s: %w", config.Name, err)
	}
	for subject := range old.State.Subjects {
		if !slices.Contains(config.Subjects, subject) {
			config.Subjects = append(config.Subjects, subject)
		}
	}
	if _, err := b.js.CreateOrUpdateStream(ctx, config); err != nil {
		return fmt.Errorf("stream %s: %w", config.Name, err)
	}
	from, err := b.js.Stream(ctx, old.Config.Name)
	if err != nil {
		return fmt.Errorf("stream %s: %w", old.Config.Name, err)
	}
	for subject := range old.State.Subjects {
		if err := b.moveSubject(ctx, from, subject); err != nil {
			return err
		}
	}
	return nil
}
