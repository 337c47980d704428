package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

func sendCommand(p *places) *cobra.Command {
	var asHex bool
	var o client.SendOptions
	c := &cobra.Command{
		ValidArgsFunction: completePorts(p),
		Use:               "send PORT [DATA|-]", Short: "Queue a frame for a port", Args: rangeArgs(1, 2),
		Long: "Queues DATA, or what standard input holds, as one frame. With line framing the delimiter is appended unless it is there.",
		Example: "  supervisor send echo hello\n  supervisor send --hex plc '01 03 00 00 00 02 c4 0b'\n" +
			"  printf 'AT\\r' | supervisor send modem -",
		RunE: func(c *cobra.Command, args []string) error {
			if o.TTL < 0 || o.TTL%time.Second != 0 {
				return usagef("--ttl %s: it takes whole seconds, such as 5s", o.TTL)
			}
			data, err := frameOf(c.InOrStdin(), args[1:], asHex)
			if err != nil {
				return err
			}
			var news []nats.Option
			if o.Wait {
				news = []nats.Option{sayLoss, sayBack}
			}
			supervisor, err := client.Connect(c.Context(), p.running(), ipc.RoleSend, news...)
			if err != nil {
				return err
			}
			defer supervisor.Close()
			return supervisor.Send(c.Context(), args[0], data, o)
		},
	}
	c.Flags().BoolVar(&asHex, "hex", false, "DATA is in hexadecimal; spaces and colons do not matter")
	c.Flags().BoolVar(&o.Wait, "wait", false, "return when the frame was written to the device")
	leaseFlag(c, &o.Lease)
	c.Flags().DurationVar(&o.TTL, "ttl", 0, "do not send it when it has waited for so long, such as 5s")
	return c
}

// leaseFlag adds the flag of verbs that write.
func leaseFlag(c *cobra.Command, token *string) {
	c.Flags().StringVar(token, "lease", os.Getenv(client.EnvLease), "the `TOKEN` of a lease; see supervisor lease")
	c.Flags().Lookup("lease").DefValue = "$" + client.EnvLease
}

// frameOf is the frame to send: the argument, or standard input. With line framing an empty frame is a bare delimiter, which
// nobody means whose input has failed.
func frameOf(in io.Reader, args []string, asHex bool) ([]byte, error) {
	var data []byte
	typed := len(args) == 1 && args[0] != "-"
	if typed {
		data = []byte(args[0])
	} else {
		var err error
		if data, err = io.ReadAll(io.LimitReader(in, 3*frame.MaxFrameBytes)); err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
	}
	if asHex {
		var err error
		data, err = hex.DecodeString(strings.NewReplacer(" ", "", ":", "", "\n", "", "\t", "", "\r", "").Replace(string(data)))
		if err != nil {
			return nil, usagef("--hex: %w: write bytes as two digits each, such as 0d 0a", err)
		}
	}
	if !typed && len(data) == 0 {
		return nil, usagef("standard input is empty, so nothing was sent; an empty frame is '' in place of DATA")
	}
	return data, nil
}
