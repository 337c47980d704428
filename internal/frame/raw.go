package frame

// raw is no framing: frames are whatever comes at once, cut at maxBytes.
type raw struct{ maxBytes int }

func (raw) Delimiter() []byte { return nil }

func (r raw) Split(data []byte, _ int, _ bool) ([]byte, int, Flags) {
	n := min(len(data), r.maxBytes)
	return data[:n:n], n, 0
}

func (raw) Append(dst, payload []byte, _ Flags) []byte { return append(dst, payload...) }
