package supervisor

import (
	"log/slog"
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
	return fleet.New(fleet.Options{
		Broker: b, Local: ipc.Subjects{Root: c.SubjectRoot}, Hub: ipc.NewFleetSubjects(l.SubjectRoot, c.Name), Stream: l.Stream, Domain: l.Domain, Log: log,
		GapFile: filepath.Join(stateDir, "hub-lacks.json"),
	})
}
