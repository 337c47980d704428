package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// tapFlags are the flags of tap.
type tapFlags struct {
	hex, json, raw bool
	since          time.Duration
	frames         int
}

func tapCommand(p *places) *cobra.Command {
	var f tapFlags
	c := &cobra.Command{
		ValidArgsFunction: completePorts(p),
		Use:               "tap [PORT...]", Short: "Print what ports receive and send",
		Long: "Prints each frame with time, port and direction: rx was received, sent was sent. Without PORT it prints all ports.\n" +
			"--raw prints the bytes received, exactly, and nothing else.",
		RunE: func(c *cobra.Command, ports []string) error {
			if f.hex && f.json || f.hex && f.raw || f.json && f.raw {
				return usagef("--hex, --json and --raw exclude each other")
			}
			if f.since < 0 {
				return usagef("--since %s: it cannot be negative", f.since)
			}
			if f.frames < 0 || f.frames == 0 && c.Flags().Changed("count") {
				return usagef("--count %d: it takes a number of frames from 1 on; without it tap ends when it is interrupted", f.frames)
			}
			return tap(c.Context(), p.running(), c.OutOrStdout(), f, ports)
		},
	}
	c.Flags().BoolVar(&f.hex, "hex", false, "print bytes in hexadecimal")
	c.Flags().BoolVar(&f.json, "json", false, "print a JSON document for each frame")
	c.Flags().BoolVar(&f.raw, "raw", false, "print the received bytes as they were on the line")
	c.Flags().DurationVar(&f.since, "since", 0, "begin so long ago, from the history")
	c.Flags().IntVarP(&f.frames, "count", "n", 0, "end after so many `FRAMES`")
	return c
}

// sayLoss and sayBack tell who waits that the supervisor is gone, and that it has come back.
var (
	sayLoss = nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "supervisor: lost the supervisor, waiting for it to come back")
		}
	})
	sayBack = nats.ReconnectHandler(func(*nats.Conn) { fmt.Fprintln(os.Stderr, "supervisor: the supervisor is back") })
)

// errEnough ends a tap that has printed what was asked for.
var errEnough = errors.New("enough")

func tap(ctx context.Context, place client.Place, out io.Writer, f tapFlags, ports []string) error {
	dropped := sync.OnceFunc(func() {
		fmt.Fprintln(os.Stderr, "supervisor: the output is too slow, some frames are not shown; --since reads them from the history")
	})
	supervisor, err := client.Connect(ctx, place, ipc.RoleTap, sayLoss, sayBack,
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) {
				dropped()
			}
		}))
	if err != nil {
		return err
	}
	defer supervisor.Close()
	printer := &client.Printer{Out: out, Format: f.format(), Colour: isTerminal(out)}
	left := f.frames
	err = supervisor.Tap(ctx, client.TapOptions{Ports: ports, Since: f.since, Wire: f.raw, Listening: func(ports []string) {
		printer.Align(ports)
		fmt.Fprintln(os.Stderr, "supervisor: listening")
		sayClosed(ctx, supervisor, ports)
	}, Denied: func(who string, ports []string) {
		fmt.Fprintf(os.Stderr, "supervisor: left out, as %s may not tap: %s\n", who, strings.Join(ports, ", "))
	}, Missed: func(port string, bytes uint64) {
		fmt.Fprintf(os.Stderr, "supervisor: port %s: %d received bytes are missing here\n", port, bytes)
	}}, func(r capture.Record) error {
		if err := printer.Print(r); err != nil {
			return err
		}
		if r.Kind == capture.Rx || r.Kind == capture.Sent && !f.raw {
			if left--; left == 0 {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) || errors.Is(err, syscall.EPIPE) { // as head(1) leaves
		return nil
	}
	return err
}

// sayClosed tells of ports of which nothing will be heard for now.
func sayClosed(ctx context.Context, supervisor *client.Client, ports []string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, s, err := supervisor.StatusJSON(ctx)
	if err != nil {
		return // it is no more than a hint
	}
	for _, p := range s.Ports {
		if p.State != ipc.Open && p.Error != "" && slices.Contains(ports, p.Name) {
			fmt.Fprintf(os.Stderr, "supervisor: port %s is %s: %s; it is waited for\n", p.Name, p.State, p.Error)
		}
	}
}

func (f tapFlags) format() client.Format {
	switch {
	case f.hex:
		return client.Hex
	case f.json:
		return client.JSON
	case f.raw:
		return client.Raw
	}
	return client.Text
}

// isTerminal says whether what is printed is looked at, by a person who has not set NO_COLOR (no-color.org).
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	return client.IsTerminal(f)
}
