package ipc

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Counters is the memory that a port's processes share, so that the supervisor reads the counters without asking
// anybody and a worker's successor knows where the dead one stood. Each field has one writer. Layout, in bytes:
//
//	  0  magic     "SVCOUNT1"
//	 64  reader's  RxBytes RxFrames RxLostHistory RxLostForward RxRead RxDone
//	128  writer's  TxBytes TxFrames TxExpired
//
// All fields are little-endian 64-bit words on every machine that Linux and Go share; the two groups stand on cache
// lines of their own.
type Counters struct {
	magic [8]byte
	_     [56]byte

	RxBytes       atomic.Uint64 // received, over all sessions
	RxFrames      atomic.Uint64 // published, over all sessions
	RxLostHistory atomic.Uint64 // frames published live and not stored
	RxLostForward atomic.Uint64 // frames that could not be forwarded
	RxRead        atomic.Uint64 // session: bytes taken from the tty
	RxDone        atomic.Uint64 // session: bytes before this offset are safe with the broker
	_             [2]uint64

	TxBytes   atomic.Uint64 // taken by the kernel, over all sessions
	TxFrames  atomic.Uint64
	TxExpired atomic.Uint64 // accepted, then not sent
	_         [5]uint64
}

const (
	countersMagic = "SVCOUNT1"
	countersSize  = int(unsafe.Sizeof(Counters{}))
)

// NewCounters makes the memory and returns it with the memfd behind it, which the caller owns and hands to workers.
// The mapping lasts as long as the process.
func NewCounters(name string) (*Counters, *os.File, error) {
	fd, err := unix.MemfdCreate("serialvisor-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, fmt.Errorf("create shared counters: %w", err)
	}
	f := os.NewFile(uintptr(fd), "counters "+name)
	if err := unix.Ftruncate(fd, int64(countersSize)); err != nil {
		return nil, nil, fmt.Errorf("size shared counters: %w", err)
	}
	c, err := mapCounters(fd)
	if err != nil {
		return nil, nil, err
	}
	copy(c.magic[:], countersMagic)
	return c, f, nil
}

// OpenCounters maps the memory behind a descriptor that the supervisor handed over, and closes the descriptor.
func OpenCounters(fd int) (*Counters, error) {
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("shared counters on descriptor %d: %w", fd, err)
	}
	if st.Size < int64(countersSize) {
		return nil, fmt.Errorf("shared counters: %d bytes, want %d: supervisor and worker are of different versions", st.Size, countersSize)
	}
	c, err := mapCounters(fd)
	if err != nil {
		return nil, err
	}
	if string(c.magic[:]) != countersMagic {
		return nil, fmt.Errorf("shared counters: magic %q, want %q: supervisor and worker are of different versions", c.magic, countersMagic)
	}
	return c, nil
}

func mapCounters(fd int) (*Counters, error) {
	mem, err := unix.Mmap(fd, 0, countersSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map shared counters: %w", err)
	}
	return (*Counters)(unsafe.Pointer(&mem[0])), nil
}

// NewSession begins the count of a session's bytes; only while no reader runs.
func (c *Counters) NewSession() {
	c.RxRead.Store(0)
	c.RxDone.Store(0)
}
