package main

import (
	"fmt"
	"os"
	"time"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// gapFigures are how exactly silence is told to end a frame.
type gapFigures struct {
	gap      time.Duration
	apart    []float64 // for each of silences: % of pairs of bursts that came as two frames
	late     float64   // µs from the gap's end to the subscriber's receipt, p50
	lateMost float64   // p99
}

// silences between two bursts, as parts of the gap.
var silences = []float64{0.5, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5, 2}

func measureGaps() ([]gapFigures, error) {
	var all []gapFigures
	for _, gap := range []time.Duration{2 * time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		fmt.Fprintf(os.Stderr, "framing by a gap of %s\n", gap)
		f, err := measureGap(gap)
		if err != nil {
			return nil, fmt.Errorf("gap of %s: %w", gap, err)
		}
		all = append(all, f)
	}
	return all, nil
}

func measureGap(gap time.Duration) (gapFigures, error) {
	f := gapFigures{gap: gap}
	r, err := newRun()
	if err != nil {
		return f, err
	}
	defer r.stop()
	device, err := simulator.Open()
	if err != nil {
		return f, err
	}
	defer func() { _ = device.Close() }()
	nc, err := serve(r, fmt.Sprintf("  dev: {device: %s, framing: {type: gap, gap: %s}}\n", device.Path(), gap))
	if err != nil {
		return f, err
	}
	defer nc.Close()
	in, err := r.subscribe()
	if err != nil {
		return f, err
	}
	if err := warmUp(device, in, false); err != nil {
		return f, err
	}
	const pairs = 200
	var late []time.Duration
	for _, part := range silences {
		apart := 0
		for range pairs {
			two, took, err := pair(device, in, time.Duration(part*float64(gap)))
			if err != nil {
				return f, err
			}
			if two {
				apart++
			}
			late = append(late, took-gap)
		}
		f.apart = append(f.apart, 100*float64(apart)/pairs)
	}
	f.late, f.lateMost = percentile(late, 50), percentile(late, 99)
	return f, nil
}

// pair has the device say two bursts with a silence in between. It returns whether they came as two frames, and how long
// after the second one the last of them came.
func pair(device *simulator.Pty, in <-chan receipt, silence time.Duration) (two bool, took time.Duration, err error) {
	if _, err := device.Write([]byte("first")); err != nil {
		return false, 0, err
	}
	for end := monotonic() + silence.Nanoseconds(); monotonic() < end; { // timers are not exact enough
	}
	said := monotonic()
	if _, err := device.Write([]byte("second")); err != nil {
		return false, 0, err
	}
	for {
		select {
		case got := <-in:
			if got.line == "first" {
				two = true
				continue
			}
			return two, time.Duration(got.at - said), nil
		case <-time.After(5 * time.Second):
			return false, 0, fmt.Errorf("a frame was lost")
		}
	}
}

// printGaps prints how exactly silence ends a frame.
func printGaps(all []gapFigures) {
	fmt.Print("| gap | frame comes after the gap: p50 µs | p99 µs |")
	for _, part := range silences {
		fmt.Printf(" %g gaps |", part)
	}
	fmt.Print("\n|---|---|---|")
	for range silences {
		fmt.Print("---|")
	}
	fmt.Println()
	for _, f := range all {
		fmt.Printf("| %s | %.0f | %.0f |", f.gap, f.late, f.lateMost)
		for _, percent := range f.apart {
			fmt.Printf(" %.1f %% |", percent)
		}
		fmt.Println()
	}
	fmt.Println()
}
