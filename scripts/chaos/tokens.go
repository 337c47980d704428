package main

import "bytes"

// token is what a device has got between two beginnings of frames.
type token struct {
	kind  tokenKind
	n     int    // of the frame; unknown, where it was cut off before its number: -1
	bytes int    // of it
	head  []byte // the bytes, if the number is not known
	life  int    // of the device, see device
	at    int64  // when its last byte was read, ns since 1970
}

type tokenKind int

const (
	whole   tokenKind = iota // a frame
	cut                      // the beginning of one
	garbled                  // anything else
)

// tokens cuts what a device gets into tokens, however it comes.
type tokens struct {
	talk
	life int
	emit func(token)

	piece []byte
	n     int
	want  []byte // frame n, once the number is known
	at    int64
}

// write takes bytes in that were read at a time.
func (s *tokens) write(b []byte, at int64) {
	for len(b) > 0 {
		s.at = at
		if len(s.piece) > 0 && s.start(b) == 0 {
			s.flush()
		}
		// Up to the next beginning.
		end := 1 + s.start(b[1:])
		if end == 0 {
			end = len(b)
		}
		s.piece = append(s.piece, b[:end]...)
		b = b[end:]
		if s.want == nil {
			if n, ok := s.number(s.piece); ok {
				s.n, s.want = n, s.wire(n)
			}
		}
		if s.want != nil && bytes.Equal(s.piece, s.want) {
			s.flush()
		}
	}
}

// flush ends the piece that is there, as the device was unplugged or another frame begins.
func (s *tokens) flush() {
	if len(s.piece) == 0 {
		return
	}
	t := token{kind: garbled, n: -1, bytes: len(s.piece), life: s.life, at: s.at}
	switch {
	case s.want != nil && bytes.Equal(s.piece, s.want):
		t.kind, t.n = whole, s.n
	case s.want != nil && bytes.HasPrefix(s.want, s.piece):
		t.kind, t.n = cut, s.n
	case s.want != nil:
		t.n = s.n
	case s.start(s.piece) == 0:
		t.kind, t.head = cut, bytes.Clone(s.piece) // the checker sees of what
	}
	s.emit(t)
	s.piece, s.want = s.piece[:0], nil
}
