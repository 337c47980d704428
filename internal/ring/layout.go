// Package ring is the memory that a port's processes share: what was received and is not safe with the broker yet, the
// frame that is on its way to the device, and the port's counters. It lasts longer than any worker: the supervisor holds
// it, and lends it to a worker and, when that dies, to its successor, which goes on where the dead one stood.
//
// Bytes are never in a worker alone. They are in the kernel (the tty or a pipe) or here, and what a worker is about to do
// with them is written down before it does it:
//
//	device → tty ─splice→ pipe ─read→ Rx.data → frames in Rx.index → broker
//	queue → Tx.data ─write→ pipe ─splice→ tty → device
//
// A kill can come between any two instructions. A system call that moves bytes into or out of a pipe may then have
// happened or not, and the number of bytes in the pipe tells which, see Recover.
package ring

import (
	"sync/atomic"
	"unsafe"
)

// Layout, in bytes; each part begins at a page:
//
//	0            header
//	 4 KiB       index: indexLen entries, the frames cut from what was received
//	+132 KiB     notes: notesLen sequences of frames that were written
//	+32 KiB      received: rxSize bytes, byte n of the session at n % rxSize
//	+rxSize      in hand: txSize bytes, the frame that is being written
//
// Words are little-endian 64 bits on every machine that Linux and Go share. Each has one writer, unless something else is said.
const (
	pageSize   = 4096
	indexLen   = 4224 // some more than may be under way to the history
	notesLen   = 4096
	indexStart = pageSize
	notesStart = indexStart + indexLen*int(unsafe.Sizeof(entry{}))
	rxStart    = notesStart + notesLen*8
)

// magic names the layout; another one has another name.
const magic = "SVRING03"

// noteSize is the room for the supervisor's note.
const noteSize = 1024

// MaxTargets is how many ports a port can forward to.
const MaxTargets = 32

// header is the first page.
type header struct {
	magic  [8]byte
	rxSize uint64
	txSize uint64
	_      [5]uint64

	supervisor supervisorWords
	reader     readerWords
	writer     writerWords
	lease      leaseWords
	awaited    awaitedWords
	noteLen    atomic.Uint64
	note       [noteSize]byte
	targets    targetWords
}

// supervisorWords are written by the supervisor, the first two while no reader runs.
type supervisorWords struct {
	rxBytes  atomic.Uint64 // received in earlier sessions
	rxFrames atomic.Uint64
	stores   atomic.Uint64 // until when, on the clock of Now, the broker's store is known to store
	lasting  atomic.Uint64 // 1: the session goes on when the reader is asked to end
	_        [4]uint64
}

// readerWords are written by the reader, or between sessions by the supervisor.
type readerWords struct {
	head   atomic.Uint64 // bytes received in this session: those before it are in the ring or safe
	intent atomic.Uint64 // while a read from the pipe is under way: 1 + offset of the end of what is in the pipe

	framed atomic.Uint64 // frames in the index, of this session
	stored atomic.Uint64 // frames before this one are safe with the history, or given up
	_      [4]uint64

	forwarded [MaxTargets]atomic.Uint64 // the same for each port that they are forwarded to, see targetWords

	lostHistory atomic.Uint64
	lostForward atomic.Uint64
	_           [6]uint64
}

// writerWords are written by the writer, or between sessions by the supervisor.
type writerWords struct {
	state   atomic.Uint64 // of the frame in hand
	kind    atomic.Uint64
	source  atomic.Uint64 // the queue in which seq counts; the supervisor's word
	seq     atomic.Uint64
	length  atomic.Uint64
	fed     atomic.Uint64 // bytes of it that were put into the pipe
	feeding atomic.Uint64 // while a write to the pipe is under way: 1 + fed before it
	wanted  atomic.Uint64 // what a listener waits for; the reader takes it back when it has come

	bytes   atomic.Uint64 // written, over all sessions
	frames  atomic.Uint64
	expired atomic.Uint64
	lost    atomic.Uint64 // frames written that the history does not have

	bytesBefore  atomic.Uint64 // bytes and frames when the frame in hand was taken
	framesBefore atomic.Uint64
	place        atomic.Uint64 // of the note that the frame in hand will have
	handled      atomic.Uint64 // deliveries of the queue's consumer of which nothing is with the writer any more
}

// entry is a frame in the index.
type entry struct {
	start uint64 // offset of its first byte in the session
	skip  uint32 // bytes between the frame before and it
	size  uint32 // with its delimiter
	time  int64  // when its last byte was read, in ns since 1970
	flags uint64
}

func init() {
	if unsafe.Sizeof(header{}) > pageSize || rxStart%pageSize != 0 {
		panic("ring: the layout does not fit its pages")
	}
}
