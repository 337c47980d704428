package supervisor

import (
	"io"
)

// lines reads what a worker prints on a stream, for the log.
func (c *custom) lines(stream string) func(io.Reader) {
	log := c.log.With("worker", c.config.Name, "stream", stream)
	return func(r io.Reader) { logLines(r, log) }
}
