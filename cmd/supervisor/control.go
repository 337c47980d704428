package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

func controlCommand(p *places) *cobra.Command {
	var asJSON bool
	var token string
	c := &cobra.Command{
		ValidArgsFunction: completePorts(p),
		Use:               "control PORT [KEY[=VALUE]...]", Short: "Change or show how a port's line stands", Args: rangeArgs(1, 100),
		Long: "Changes line settings and lines of an open port now, and prints KEY=VALUE for each KEY; without any, for all.\n\n" +
			"  baud, data_bits, parity, stop_bits, flow_control   as in the config; they last until the port opens again\n" +
			"  dtr, rts            on or off\n" +
			"  break[=250ms]       hold the line low for so long\n" +
			"  flush[=both]        drop what waits in the kernel: in, out or both\n" +
			"  cts, dsr, dcd, ri   to be read\n" +
			"  overrun_errors, framing_errors, parity_errors, breaks   as the driver counts them, since the port opened\n" +
			"  unread, unsent      bytes that wait in the kernel",
		Example: "  supervisor control gps baud=9600 parity=even\n  supervisor control arduino dtr=off\n  supervisor control plc cts",
		RunE: func(c *cobra.Command, args []string) error {
			changes, shown, err := controlKeys(args[1:])
			if err != nil {
				return err
			}
			supervisor, err := client.Connect(c.Context(), p.running(), ipc.RoleSend)
			if err != nil {
				return err
			}
			defer supervisor.Close()
			reply, err := supervisor.Control(c.Context(), args[0], changes, token)
			if err != nil {
				return err
			}
			if reply.Note != "" {
				fmt.Fprintf(os.Stderr, "supervisor: %s\n", reply.Note)
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(reply)
			}
			return writeLine(c.OutOrStdout(), reply, changes, shown)
		},
	}
	leaseFlag(c, &token)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return c
}

// controlKeys sorts arguments into what to change and which values to show, in order.
func controlKeys(args []string) (changes map[string]string, shown []string, err error) {
	changes = map[string]string{}
	known := keysOf(ipc.ControlReply{Modem: &ipc.ModemLines{}})
	for _, arg := range args {
		key, value, change := strings.Cut(arg, "=")
		if action, ok := map[string]string{ipc.ControlBreak: "250ms", ipc.ControlFlush: "both"}[key]; ok && !change {
			value, change = action, true
		}
		if !change && !slices.Contains(known, key) {
			return nil, nil, usagef("unknown key %q; there are %s, break and flush", key, strings.Join(known, ", "))
		}
		if change {
			if _, twice := changes[key]; twice {
				return nil, nil, usagef("%s stands there twice", key)
			}
			changes[key] = value
		}
		shown = append(shown, key)
	}
	return changes, shown, nil
}

func keysOf(r ipc.ControlReply) []string {
	var keys []string
	for _, v := range client.LineValues(r) {
		keys = append(keys, v[0])
	}
	return keys
}

// writeLine prints the values of the keys, or all. What was done and has no value is printed as it was asked for.
func writeLine(out io.Writer, r ipc.ControlReply, changes map[string]string, keys []string) error {
	values := map[string]string{ipc.ControlBreak: changes[ipc.ControlBreak], ipc.ControlFlush: changes[ipc.ControlFlush]}
	for _, v := range client.LineValues(r) {
		values[v[0]] = v[1]
	}
	if len(keys) == 0 {
		keys = keysOf(r)
	}
	for _, key := range keys {
		value, ok := values[key]
		if !ok {
			return fmt.Errorf("port %s: its driver has no modem lines, so no %s", r.Port, key)
		}
		if _, err := fmt.Fprintf(out, "%s=%s\n", key, value); err != nil {
			return err
		}
	}
	return nil
}
