package supervisor

import (
	"context"
	"encoding/json"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

const (
	// lossLook is how often ports are asked what their history lacks, and how often that is published at most.
	lossLook = time.Second
	// lossLog is how often it is logged at most, for one port.
	lossLog = 10 * time.Second
)

// lostHistory counts the port's frames, received and sent, that the history lacks.
func (p *port) lostHistory() uint64 {
	return p.memory.ring.Rx().LostHistory + p.memory.ring.Tx().LostHistory
}

// watchLosses tells of frames that the history lacks, until ctx ends.
func (s *Supervisor) watchLosses(ctx context.Context) error {
	tick := time.NewTicker(lossLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			s.round.Store(&now)
			s.spawner.LookForKills()
			for _, p := range s.gateway().ports {
				p.tellLosses()
			}
		}
	}
}

// tellLosses publishes the port's state again if its history lacks other than was said last.
func (p *port) tellLosses() {
	p.telling.Lock()
	defer p.telling.Unlock()
	if lost := p.lostHistory(); lost != p.lossTold {
		p.publishState()
		if time.Since(p.lossLogged) >= lossLog {
			p.lossLogged = time.Now()
			p.log.Warn("frames are missing in the history", "port", p.config.Name, "lost_history", lost)
		}
	}
}

// tellAgain publishes the port's state for a history that may have missed it.
func (p *port) tellAgain() {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.publishState()
}

// publishState puts the port's state, as the board has it, on the bus and into the history. It must be called with telling
// held, so that states are published in the order in which they come.
func (p *port) publishState() {
	now := time.Now().UTC()
	p.lossTold = p.lostHistory()
	var state ipc.PortState
	p.board.port(p.config.Name, func(s *ipc.PortStatus) {
		state = ipc.PortState{
			Port: s.Name, State: s.State, Time: now, Device: s.Device, Session: s.Session, Error: s.Error, LostHistory: p.lossTold,
		}
	})
	payload, err := json.Marshal(state)
	if err == nil {
		err = p.broker.PublishState(p.config.Name, payload, now)
	}
	if err != nil {
		p.log.Warn("the state of a port was not published", "port", p.config.Name, "error", err)
	}
}
