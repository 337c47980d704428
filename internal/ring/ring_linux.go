package ring

import (
	"fmt"
	"hash/fnv"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring is one process's view of a port's memory. The mapping lasts as long as the process, so that no pointer into it
// outlives it.
type Ring struct {
	h     *header
	index *[indexLen]entry
	notes *[notesLen]noteWord
	rx    []byte // twice the ring, one behind the other: any part of the ring is in one piece
	tx    []byte
}

// Sizes says how much room a port needs.
type Sizes struct {
	Received int // bytes of the longest frame that is received, with its delimiter
	Sent     int // bytes of the longest frame that is sent, with its delimiter
	Baud     int // of the line
}

// leastReceived is the room for received bytes of a port with short frames: more than twenty seconds at 115200 baud, while the history
// is busy. All of it is in use on a port that says something now and then, and there are many ports.
const leastReceived = 256 << 10

// rx is room for a second of what the line can say, and for two frames and some more.
func (s Sizes) rx() int { return roundUp(max(leastReceived, s.Baud/10, 2*s.Received+64<<10)) }
func (s Sizes) tx() int { return roundUp(max(pageSize, s.Sent)) }

func roundUp(n int) int { return (n + pageSize - 1) &^ (pageSize - 1) }

// New makes the memory and returns it with the memfd behind it, which the caller owns and hands to workers.
func New(name string, sizes Sizes) (*Ring, *os.File, error) {
	fd, err := unix.MemfdCreate("serialvisor-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, fmt.Errorf("create shared memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "ring "+name)
	if err := unix.Ftruncate(fd, int64(rxStart+sizes.rx()+sizes.tx())); err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("size shared memory: %w", err)
	}
	// A worker that shrank it would have the supervisor killed at its next look.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("seal shared memory: %w", err)
	}
	page, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("map shared memory: %w", err)
	}
	h := (*header)(unsafe.Pointer(&page[0]))
	h.rxSize, h.txSize = uint64(sizes.rx()), uint64(sizes.tx())
	copy(h.magic[:], magic)
	_ = unix.Munmap(page)
	r, err := Open(fd)
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return r, f, nil
}

// Open maps the memory behind a descriptor, which stays the caller's.
func Open(fd int) (*Ring, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("shared memory on descriptor %d: %w", fd, err)
	}
	if st.Size < pageSize {
		return nil, fmt.Errorf("shared memory: %d bytes: supervisor and worker are of different versions", st.Size)
	}
	page, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map shared memory: %w", err)
	}
	h := *(*struct {
		magic          [8]byte
		rxSize, txSize uint64
	})(unsafe.Pointer(&page[0]))
	_ = unix.Munmap(page)
	if string(h.magic[:]) != magic {
		return nil, fmt.Errorf("shared memory: magic %q, want %q: supervisor and worker are of different versions", h.magic, magic)
	}
	if h.rxSize == 0 || h.txSize == 0 || (h.rxSize|h.txSize)%pageSize != 0 || uint64(st.Size) != uint64(rxStart)+h.rxSize+h.txSize {
		return nil, fmt.Errorf("shared memory: %d bytes do not hold rings of %d and %d", st.Size, h.rxSize, h.txSize)
	}
	return mapRing(fd, uintptr(h.rxSize), uintptr(h.txSize))
}

// mapRing reserves a range of addresses and lays the memory over it:
//
//	header index notes | received | received again | in hand
func mapRing(fd int, rx, tx uintptr) (*Ring, error) {
	base, err := unix.MmapPtr(-1, 0, nil, uintptr(rxStart)+2*rx+tx, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map shared memory: %w", err)
	}
	for _, part := range []struct{ offset, at, length uintptr }{
		{0, 0, uintptr(rxStart) + rx}, {uintptr(rxStart), uintptr(rxStart) + rx, rx}, {uintptr(rxStart) + rx, uintptr(rxStart) + 2*rx, tx},
	} {
		_, err := unix.MmapPtr(fd, int64(part.offset), unsafe.Add(base, part.at), part.length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
		if err != nil {
			return nil, fmt.Errorf("map shared memory: %w", err)
		}
	}
	return &Ring{
		h:     (*header)(base),
		index: (*[indexLen]entry)(unsafe.Add(base, indexStart)),
		notes: (*[notesLen]noteWord)(unsafe.Add(base, notesStart)),
		rx:    unsafe.Slice((*byte)(unsafe.Add(base, rxStart)), 2*rx),
		tx:    unsafe.Slice((*byte)(unsafe.Add(base, uintptr(rxStart)+2*rx)), tx),
	}, nil
}

// Lock waits until no other process works under the same name on the memory behind a descriptor, and keeps others out for as
// long as this process lives. A supervisor that died may have left a worker that has a moment to live, and the next one must
// not start a second beside it.
func Lock(fd int, worker string) error {
	// An open file description of its own holds the lock: the others share one.
	own, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("lock shared memory: %w", err)
	}
	name := fnv.New32a()
	_, _ = name.Write([]byte(worker)) // it never fails
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: int64(name.Sum32()), Len: 1}
	for {
		err := unix.FcntlFlock(uintptr(own), unix.F_OFD_SETLKW, &lock)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("lock shared memory: %w", err)
		}
	}
}

// Fits says whether the memory is as large as New would make it, or larger, but for the line's rate: another memory begins empty, and
// less than a second's room is enough.
func (r *Ring) Fits(s Sizes) bool {
	s.Baud = 0
	return len(r.rx)/2 >= s.rx() && len(r.tx) >= s.tx()
}

// SetNote keeps a note of the supervisor's for its successor, of at most 1024 bytes.
func (r *Ring) SetNote(note []byte) error {
	if len(note) > noteSize {
		return fmt.Errorf("shared memory: a note of %d bytes, and there is room for %d", len(note), noteSize)
	}
	r.h.noteLen.Store(0)
	copy(r.h.note[:], note)
	r.h.noteLen.Store(uint64(len(note)))
	return nil
}

// Note is what SetNote kept, or nothing if it was interrupted.
func (r *Ring) Note() []byte {
	return append([]byte(nil), r.h.note[:min(r.h.noteLen.Load(), noteSize)]...)
}

// NewSession begins the count of a session's bytes and forgets the answer that is awaited, and the frame in hand, which the
// next session begins anew unless it is done. Only while no worker runs, and with empty pipes.
func (r *Ring) NewSession() {
	w := &r.h.reader
	r.h.supervisor.rxBytes.Add(w.head.Load())
	w.head.Store(0)
	r.h.supervisor.rxFrames.Add(w.framed.Load())
	w.framed.Store(0)
	w.intent.Store(0)
	w.stored.Store(0)
	for i := range w.forwarded {
		w.forwarded[i].Store(0)
	}
	r.h.writer.state.Store(idle)
	r.h.writer.feeding.Store(0)
	r.h.awaited.state.Store(0)
}
