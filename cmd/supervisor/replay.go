package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// replayFlags are the flags of replay.
type replayFlags struct {
	link  string
	speed float64
	loop  bool
}

func replayCommand() *cobra.Command {
	var f replayFlags
	c := &cobra.Command{
		Use: "replay FILE", Short: "Simulate a device that says again what was recorded", Args: rangeArgs(1, 1),
		Long: "Makes a pseudo-terminal and prints its path. When somebody opens it, a supervisor perhaps, it says what FILE holds of\n" +
			"what was received, as fast as it came then. FILE is one of supervisor export, as jsonl, csv or pcapng.\n" +
			"What the device is told it does not mind. While nobody has it open it waits.",
		Example: "  supervisor export gps --format pcapng --output fault.pcapng\n  supervisor replay fault.pcapng --link /tmp/gps --speed 10",
		RunE: func(c *cobra.Command, args []string) error {
			if f.speed < 0 || math.IsNaN(f.speed) || math.IsInf(f.speed, 0) {
				return usagef("--speed %v: 2 is twice as fast, 0.5 half as fast, and 0 as fast as is taken", f.speed)
			}
			return replay(c.Context(), c.OutOrStdout(), args[0], f)
		},
	}
	c.Flags().StringVar(&f.link, "link", "", "make a symbolic link at `PATH` to the device, until the end")
	c.Flags().Float64Var(&f.speed, "speed", 1, "play `FACTOR` times as fast; 0: as fast as is taken")
	c.Flags().BoolVar(&f.loop, "loop", false, "begin anew at the end, until interrupted")
	return c
}

// settle is how long a program that opens a port may take to set it up, and to throw away what came before.
const settle = 200 * time.Millisecond

func replay(ctx context.Context, out io.Writer, path string, f replayFlags) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	r, err := openRecording(file)
	if err != nil {
		if errors.Is(err, capture.ErrFormat) {
			return usageError{fmt.Errorf("%s: %w", path, err)}
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	device, remove, err := plugIn(f.link)
	if err != nil {
		return err
	}
	defer remove()
	if _, err := fmt.Fprintln(out, device.Path()); err != nil {
		return err
	}
	if f.link == "" {
		f.link = device.Path()
	}
	report := &reporter{device: f.link}
	for {
		err := simulator.Replay{Pty: device, Next: r.next, Speed: f.speed, Settle: settle, Told: report.told}.Play(ctx)
		frames := report.last.Frames
		switch {
		case errors.Is(err, context.Canceled) && f.loop:
			return nil
		case errors.Is(err, context.Canceled):
			return fmt.Errorf("interrupted after %d frames", frames)
		case err != nil:
			return fmt.Errorf("%s: %d frames were played: %w", path, frames, err)
		case !f.loop:
			report.say("%d frames, %d bytes were played and read", frames, report.last.Bytes)
			return nil
		}
		report.round++
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("%s cannot be played again: %w", path, err)
		}
		if r, err = openRecording(file); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
}

// plugIn makes the device, with a link to it unless link is empty. remove takes both away.
func plugIn(link string) (device *simulator.Pty, remove func(), err error) {
	if link != "" {
		if err := mayLink(link); err != nil {
			return nil, nil, err
		}
	}
	if device, err = simulator.Open(); err != nil {
		return nil, nil, err
	}
	if err = device.LetGo(); err == nil && link != "" {
		err = device.Link(link)
	}
	if err != nil {
		_ = device.Close()
		return nil, nil, err
	}
	return device, func() {
		// The link first: the system gives the device's number to others.
		if to, err := os.Readlink(link); err == nil && to == device.Path() {
			_ = os.Remove(link)
		}
		_ = device.Close()
	}, nil
}

// mayLink says whether a link may be made: in place of nothing, or of what a replay that was killed has left.
func mayLink(path string) error {
	to, err := os.Readlink(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && strings.HasPrefix(to, "/dev/pts/"):
		return nil
	case err == nil:
		return usagef("--link %s: there is a link to %s, which is not replaced", path, to)
	}
	return usagef("--link %s: there is something, which is not replaced", path)
}

// reporter says on stderr how a replay goes: of later rounds only what is new.
type reporter struct {
	device string
	round  int
	last   simulator.Progress
	said   time.Time // when something was said last
}

// reportEvery is how often progress is reported, and how long a silence is worth a line.
const reportEvery = 10 * time.Second

func (r *reporter) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "supervisor: "+format+"\n", args...)
	r.said = time.Now()
}

func (r *reporter) told(p simulator.Progress) {
	r.last = p
	switch p.Stage {
	case simulator.Waiting:
		r.say("waiting for somebody to open %s", r.device)
	case simulator.Playing:
		if r.round == 0 {
			r.say("playing")
		}
	case simulator.Silent:
		if silence := time.Until(p.Due); silence >= reportEvery {
			r.say("%d frames played, the next comes in %s", p.Frames, silence.Round(time.Second))
		}
	case simulator.Said:
		switch {
		case time.Since(r.said) < reportEvery:
		case r.round == 0:
			r.say("%d frames, %d bytes played", p.Frames, p.Bytes)
		default:
			r.say("round %d: %d frames, %d bytes played", r.round+1, p.Frames, p.Bytes)
		}
	case simulator.Ended:
		if r.round == 0 {
			r.say("all is played, waiting until it is read")
		}
	case simulator.Held:
		r.say("who has %s open lets nobody see whether all was read: this ends when it is closed", r.device)
	}
}
