package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// exportFlags are the flags of export.
type exportFlags struct {
	since  time.Duration
	format string
	output string
}

func exportCommand(p *places) *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		ValidArgsFunction: completePorts(p),
		Use:               "export PORT", Short: "Write what a port received and sent to a file", Args: rangeArgs(1, 1),
		Long: "Writes what the history holds of a port until now, and ends. Formats:\n" +
			"  raw     the bytes received, exactly as on the line, and nothing else\n" +
			"  jsonl   a JSON document on each line, as tap --json prints them, with the bytes on the line in \"wire\"\n" +
			"  csv     for spreadsheets: time, direction, text and hex, and changes of the port's state\n" +
			"  pcapng  for Wireshark: a packet for each frame, with direction and time\n" +
			"All but raw can be played again: see supervisor replay --help",
		Example: "  supervisor export gps --format pcapng --output gps.pcapng\n  supervisor export gps --since 10m --format csv >gps.csv",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case !capture.Format(f.format).Valid():
				return usagef("--format %s: there are %s", f.format, strings.Trim(fmt.Sprint(capture.Formats), "[]"))
			case f.since < 0:
				return usagef("--since %s: it cannot be negative", f.since)
			}
			return export(c.Context(), p.running(), c.OutOrStdout(), args[0], f)
		},
	}
	c.Flags().DurationVar(&f.since, "since", 0, "begin so long ago (default: with the oldest that is kept)")
	c.Flags().StringVar(&f.format, "format", string(capture.JSONL), "`FORMAT`: raw, jsonl, csv or pcapng")
	c.Flags().StringVarP(&f.output, "output", "o", "-", "write to `FILE`, which is there only when it is complete")
	return c
}

func export(ctx context.Context, place client.Place, out io.Writer, port string, f exportFlags) error {
	toFile := f.output != "-"
	if stdout, ok := out.(*os.File); ok && !toFile && capture.Format(f.format).Binary() && client.IsTerminal(stdout) {
		return usagef("--format %s is not for a terminal: write to a file with --output FILE", f.format)
	}
	// What breaks in the middle is begun anew by whoever wants it, not gone on with for ever.
	supervisor, err := client.Connect(ctx, place, ipc.RoleTap, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer supervisor.Close()
	if !toFile {
		buffer := bufio.NewWriterSize(out, 64<<10)
		_, err := exportTo(ctx, supervisor, buffer, port, f)
		if err = errors.Join(err, buffer.Flush()); errors.Is(err, syscall.EPIPE) { // as head(1) leaves
			return nil
		}
		return err
	}
	file, err := client.CreateOutFile(f.output)
	if err != nil {
		return err
	}
	frames, err := exportTo(ctx, supervisor, file, port, f)
	if err != nil {
		file.Abandon()
		return err
	}
	if err := file.Finish(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "supervisor: %d frames of port %s are in %s\n", frames, port, f.output)
	return nil
}

// exportTo writes a port's history in a format, and counts its frames.
func exportTo(ctx context.Context, supervisor *client.Client, out io.Writer, port string, f exportFlags) (frames int, err error) {
	status, err := supervisor.Port(ctx, port)
	if err != nil {
		return 0, err
	}
	w, err := capture.NewWriter(out, capture.Format(f.format), capture.Source{Port: port, Device: status.Device, Application: "serialvisor " + version})
	if err != nil {
		return 0, err
	}
	astray, err := supervisor.Export(ctx, client.ExportOptions{Port: port, Since: f.since}, func(r capture.Record) error {
		if r.Kind == capture.Rx || r.Kind == capture.Sent && capture.Format(f.format) != capture.Raw {
			frames++
		}
		return w.Write(r)
	})
	if err == nil {
		err = w.Close()
	}
	switch {
	case errors.Is(err, context.Canceled):
		return frames, fmt.Errorf("interrupted after %d frames", frames)
	case err != nil:
		return frames, err
	}
	if astray > 0 {
		fmt.Fprintf(os.Stderr, "supervisor: %d received frames do not join to those before them: bytes are missing from the history, "+
			"or the framing of port %s was another then\n", astray, port)
	}
	return frames, nil
}
