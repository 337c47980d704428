package supervisor

import (
	"os"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/ring"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// memory is what outlives a port's workers beside the device: the ring with the file behind it, and the pipes that bytes go
// through. The supervisor holds them and never looks into them.
type memory struct {
	ring   *ring.Ring
	file   *os.File
	rx, tx serialio.Pipe
	bell   serialio.Bell
}

func newMemory(c config.Port) (*memory, error) {
	m := &memory{}
	var err error
	if m.ring, m.file, err = ring.New(c.Name, sizesOf(c)); err != nil {
		return nil, err
	}
	if m.rx, err = serialio.NewPipe(); err != nil {
		return nil, err
	}
	if m.tx, err = serialio.NewPipe(); err != nil {
		return nil, err
	}
	if m.bell, err = serialio.NewBell(); err != nil {
		return nil, err
	}
	return m, nil
}

// sizesOf is the room that a port's frames need.
func sizesOf(c config.Port) ring.Sizes {
	// A frame of fixed length, and a piece of one, is sent as it is, however long.
	return ring.Sizes{Received: c.Framing.WireBytes(), Sent: max(c.TxFraming.WireBytes(), c.TxFraming.MaxBytes), Baud: c.Settings.Line.Baud}
}

// newSession forgets what belongs to the device as it was. Only while no worker runs.
func (m *memory) newSession() error {
	for _, p := range []serialio.Pipe{m.rx, m.tx} {
		if err := p.Drop(); err != nil {
			return err
		}
	}
	m.ring.NewSession()
	return nil
}

// pending says whether something was received that is not safe yet. Only while no reader runs.
func (m *memory) pending() bool {
	n, err := m.rx.Waiting()
	return err != nil || n > 0 || m.ring.Pending()
}

// descriptors are in the order of memoryNames.
func (m *memory) descriptors() []int { return []int{int(m.file.Fd()), m.rx.R, m.rx.W, m.tx.R, m.tx.W} }

// close frees all of it. Only when no worker runs, and nobody looks at the port any more.
func (m *memory) close() {
	m.rx.Close()
	m.tx.Close()
	_ = m.file.Close()
}
