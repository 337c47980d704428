package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

func statusCommand(p *places) *cobra.Command {
	var asJSON bool
	var every time.Duration
	c := &cobra.Command{
		Use: "status", Short: "Show ports and workers of a running supervisor", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			watch := c.Flags().Changed("watch")
			if watch && every < shortestWatch {
				return usagef("--watch %s: it is %s at least", every, shortestWatch)
			}
			supervisor, err := client.Connect(c.Context(), p.running(), ipc.RoleTap)
			if err != nil {
				return err
			}
			defer supervisor.Close()
			if !watch {
				return showStatus(c.Context(), supervisor, c.OutOrStdout(), asJSON)
			}
			return watchStatus(c.Context(), supervisor, c.OutOrStdout(), asJSON, every)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document; with --watch one on each line")
	c.Flags().DurationVar(&every, "watch", time.Second, "show it again and again, `EVERY` so often (1s), until Ctrl-C")
	c.Flags().Lookup("watch").NoOptDefVal = "1s"
	return c
}

const shortestWatch = 100 * time.Millisecond

func showStatus(ctx context.Context, supervisor *client.Client, out io.Writer, asJSON bool) error {
	document, status, err := supervisor.StatusJSON(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		_, err = out.Write(append(document, '\n'))
		return err
	}
	return client.WriteStatus(out, status)
}

// clearScreen goes to the upper left and wipes what is there, see console_codes(4).
const clearScreen = "\x1b[H\x1b[2J"

// watchStatus shows the status until ctx ends. A supervisor that does not answer may be one that starts again.
func watchStatus(ctx context.Context, supervisor *client.Client, out io.Writer, asJSON bool, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var page bytes.Buffer
		if isTerminal(out) && !asJSON {
			page.WriteString(clearScreen)
		}
		if err := showStatus(ctx, supervisor, &page, asJSON); err != nil && !asJSON {
			fmt.Fprintln(&page, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if _, err := page.WriteTo(out); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
