package simulator

import "context"

// Echo is a device that answers each line with the same line, byte for byte.
type Echo struct{ Pty *Pty }

// Run plays the device until ctx ends (nil) or it is unplugged (an error that wraps os.ErrClosed).
func (e Echo) Run(ctx context.Context) error {
	return play(ctx, e.Pty, nil, func() error {
		var line []byte
		buffer := make([]byte, 4096)
		for {
			n, err := e.Pty.Read(buffer)
			for _, c := range buffer[:n] {
				if line = append(line, c); c != '\n' {
					continue
				}
				if _, err := e.Pty.Write(line); err != nil {
					return err
				}
				line = line[:0]
			}
			if err != nil {
				return err
			}
		}
	})
}
