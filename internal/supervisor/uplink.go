package supervisor

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/serialvisor/serialvisor/internal/broker"
	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/fleet"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// leafOf is the way to the hub that the config names, or nil.
func leafOf(c *config.Config) *broker.Leaf {
	l := c.Broker.Leaf
	if !l.Enabled() {
		return nil
	}
	return &broker.Leaf{URLs: l.URLs, Credentials: l.Credentials, CA: l.CA, Subjects: ipc.NewFleetSubjects(l.SubjectRoot, c.Name)}
}

// newUplink is what tells the hub, or nil.
func newUplink(b *broker.Broker, c *config.Config, stateDir string, log *slog.Logger) *fleet.Uplink {
	l := c.Broker.Leaf
	if !l.Enabled() {
		return nil
	}
	lacks := filepath.Join(stateDir, "hub-lacks.json")
	left, err := os.ReadFile(lacks)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("what the hub has refused before is not sent again", "error", err)
	}
	return fleet.New(fleet.Options{
		Broker: b, Local: ipc.Subjects{Root: c.SubjectRoot}, Hub: ipc.NewFleetSubjects(l.SubjectRoot, c.Name), Stream: l.Stream, Domain: l.Domain, Log: log,
		Left: string(left),
		Keep: func(text string) error {
			if text != "" {
				return replace(lacks, text)
			}
			if err := os.Remove(lacks); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		},
	})
}
