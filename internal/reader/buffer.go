package reader

// buffer holds bytes that were read and are no frame yet, in one piece so that frames can be cut from it in place:
//
//	| taken | data: start … end | free |
//
// It never grows: it has room for the longest frame and for a read behind it.
type buffer struct {
	bytes      []byte
	start, end int
	scanned    int // bytes of data that were searched for the end of a frame
}

// readSize is the least room a read finds; a tty gives at most 4 KiB at once.
const readSize = 4 << 10

func newBuffer(longest int) *buffer {
	return &buffer{bytes: make([]byte, max(64<<10, longest+4*readSize))}
}

func (b *buffer) len() int { return b.end - b.start }

// data is what is there, and how much of it was searched before.
func (b *buffer) data() ([]byte, int) { return b.bytes[b.start:b.end], b.scanned }

// looked notes that data was searched and there is no frame in it yet.
func (b *buffer) looked() { b.scanned = b.len() }

// free is where the next bytes go; grow makes them part of data.
func (b *buffer) free() []byte {
	if len(b.bytes)-b.end < readSize {
		copy(b.bytes, b.bytes[b.start:b.end])
		b.start, b.end = 0, b.len()
	}
	return b.bytes[b.end:]
}

func (b *buffer) grow(n int) { b.end += n }

// take removes the first n bytes, a frame.
func (b *buffer) take(n int) {
	b.start += n
	b.scanned = 0
	if b.start == b.end {
		b.start, b.end = 0, 0
	}
}
