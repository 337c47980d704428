package simulator

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"
)

// GPS is a receiver that says where it is: NMEA 0183 sentences GGA and RMC, ended by CR LF. It wanders along a circle,
// and does not mind what it is told.
type GPS struct {
	Pty      *Pty
	Interval time.Duration // between positions; 0: one second
}

// Run plays the device until ctx ends (nil) or it is unplugged (an error that wraps os.ErrClosed). While nobody reads, it
// waits once the port's buffer is full, some minutes of sentences.
func (g GPS) Run(ctx context.Context) error {
	return play(ctx, g.Pty, func(ctx context.Context) error {
		interval := g.Interval
		if interval <= 0 {
			interval = time.Second
		}
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			// Not the tick's time, which is old after a Write that had to wait.
			for _, sentence := range Sentences(time.Now()) {
				if _, err := g.Pty.Write([]byte(sentence + "\r\n")); err != nil {
					return err
				}
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}, func() error {
		_, err := io.Copy(io.Discard, g.Pty)
		return err
	})
}

// Sentences are what a receiver says at a time, without line ends.
func Sentences(t time.Time) []string {
	t = t.UTC()
	// Once around in ten minutes, 200 m or so across, over the harbour of Hamburg.
	angle := 2 * math.Pi * float64(t.Unix()%600) / 600
	latitude, longitude := 53.5415+0.001*math.Sin(angle), 9.9842+0.0015*math.Cos(angle)
	course := math.Mod(360-angle*180/math.Pi, 360)
	clock := t.Format("150405.00")
	return []string{
		checksummed(fmt.Sprintf("GPGGA,%s,%s,N,%s,E,1,08,0.9,12.3,M,46.9,M,,", clock, degrees(latitude, 2), degrees(longitude, 3))),
		checksummed(fmt.Sprintf("GPRMC,%s,A,%s,N,%s,E,002.1,%05.1f,%s,,,A", clock, degrees(latitude, 2), degrees(longitude, 3), course, t.Format("020106"))),
	}
}

// degrees is an angle as NMEA has it: degrees and minutes in one number, ddmm.mmmm. It is rounded before it is taken
// apart, so that there are never 60 minutes.
func degrees(v float64, digits int) string {
	n := int(math.Round(v * 60e4)) // in 1/10000 of a minute
	return fmt.Sprintf("%0*d%02d.%04d", digits, n/60e4, n/1e4%60, n%1e4)
}

// checksummed frames the body of a sentence: the checksum is the exclusive or of its bytes.
func checksummed(body string) string {
	sum := byte(0)
	for i := range len(body) {
		sum ^= body[i]
	}
	return fmt.Sprintf("$%s*%02X", body, sum)
}
