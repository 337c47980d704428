package main

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// monotonic is CLOCK_MONOTONIC in nanoseconds, which all processes share.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail for this clock
	return t.Nano()
}

const lineBytes = 80

// lineAt is a line of a length that carries a number in front.
func lineAt(n int64, length int) []byte {
	text := strconv.FormatInt(n, 10) + " "
	return []byte(text + strings.Repeat("x", length-1-len(text)) + "\n")
}

func numberIn(line string) int64 {
	text, _, _ := strings.Cut(line, " ")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// with runs a measurement on a gateway that serves a new device.
func with(g gateway, echo bool, measure func(*run, *simulator.Pty, <-chan receipt) error) error {
	r, err := newRun()
	if err != nil {
		return err
	}
	defer r.stop()
	device, err := simulator.Open()
	if err != nil {
		return err
	}
	defer func() { _ = device.Close() }()
	lines, err := g.start(r, device.Path(), echo)
	if err == nil {
		err = warmUp(device, lines, echo)
	}
	if err == nil {
		err = measure(r, device, lines)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	return nil
}

// warmUp waits until lines come through, and then until none is under way.
func warmUp(device *simulator.Pty, lines <-chan receipt, echo bool) error {
	deadline := time.Now().Add(15 * time.Second)
	for n := int64(1); time.Now().Before(deadline); n++ {
		if _, err := device.Write(lineAt(-n, lineBytes)); err != nil {
			return err
		}
		if echo {
			_ = device.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			buffer := make([]byte, 4096)
			if k, _ := device.Read(buffer); k == 0 {
				continue
			}
			for { // the echoes of earlier lines
				_ = device.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				if k, _ := device.Read(buffer); k == 0 {
					_ = device.SetReadDeadline(time.Time{})
					return nil
				}
			}
		}
		select {
		case <-lines:
			for {
				select {
				case <-lines:
				case <-time.After(300 * time.Millisecond):
					return nil
				}
			}
		case <-time.After(300 * time.Millisecond):
		}
	}
	return fmt.Errorf("no line came through in 15 s")
}

// oneWay measures from the device's write to the subscriber's receipt, of lines that come 5 ms apart.
func oneWay(device *simulator.Pty, lines <-chan receipt, count int) ([]time.Duration, error) {
	var took []time.Duration
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range count {
		<-tick.C
		if _, err := device.Write(lineAt(monotonic(), lineBytes)); err != nil {
			return nil, err
		}
		select {
		case got := <-lines:
			took = append(took, time.Duration(got.at-numberIn(got.line)))
		case <-time.After(5 * time.Second):
			return nil, fmt.Errorf("a line was lost")
		}
	}
	return took, nil
}

// roundTrip measures from the device's write to its receipt of the whole line, one line at a time.
func roundTrip(device *simulator.Pty, count int) ([]time.Duration, error) {
	var took []time.Duration
	in := bufio.NewReader(device)
	for i := range count {
		line := lineAt(int64(i), lineBytes)
		begun := time.Now()
		if _, err := device.Write(line); err != nil {
			return nil, err
		}
		_ = device.SetReadDeadline(begun.Add(5 * time.Second))
		got, err := in.ReadString('\n')
		if err != nil || got != string(line) {
			return nil, fmt.Errorf("line %d came back as %q: %w", i, got, err)
		}
		took = append(took, time.Since(begun))
	}
	return took, device.SetReadDeadline(time.Time{})
}

// echoRate has the device say lines as fast as they are taken while it reads the echo, and returns lines a second.
func echoRate(device *simulator.Pty, count int) (float64, error) {
	begun := time.Now()
	said := make(chan error, 1)
	go func() { // ends with the last line or the deadline
		for i := range count {
			if _, err := device.Write(lineAt(int64(i), lineBytes)); err != nil {
				said <- err
				return
			}
		}
		said <- nil
	}()
	_ = device.SetDeadline(begun.Add(60 * time.Second))
	in := bufio.NewReaderSize(device, 1<<16)
	for i := range count {
		got, err := in.ReadString('\n')
		if err != nil || got != string(lineAt(int64(i), lineBytes)) {
			return 0, fmt.Errorf("line %d came back as %q: %w", i, got, err)
		}
	}
	return float64(count) / time.Since(begun).Seconds(), <-said
}

// flood has the device say short lines at a rate, or as fast as they are taken with 0, and returns lines a second at
// which they all reached the subscriber.
func flood(device *simulator.Pty, lines <-chan receipt, count int, rate float64) (float64, error) {
	const length = 32
	begun := time.Now()
	said := make(chan error, 1)
	go func() { // ends with the last line or an error
		for i := 0; i < count; {
			due := count
			if rate > 0 {
				due = min(count, int(time.Since(begun).Seconds()*rate)+1)
			}
			var block []byte
			for ; i < due && len(block) < 4000; i++ {
				block = append(block, lineAt(int64(i), length)...)
			}
			if len(block) == 0 {
				time.Sleep(200 * time.Microsecond)
				continue
			}
			if _, err := device.Write(block); err != nil {
				said <- err
				return
			}
		}
		said <- nil
	}()
	limit := time.After(60 * time.Second)
	for i := range count {
		select {
		case got := <-lines:
			if numberIn(got.line) != int64(i) {
				return 0, fmt.Errorf("line %d came in place of line %d", numberIn(got.line), i)
			}
		case <-limit:
			return 0, fmt.Errorf("%d of %d lines were lost or too slow", count-i, count)
		}
	}
	return float64(count) / time.Since(begun).Seconds(), <-said
}
