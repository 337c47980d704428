package main

import (
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

func requestCommand(p *places) *cobra.Command {
	var asHex bool
	var o client.RequestOptions
	c := &cobra.Command{
		ValidArgsFunction: completePorts(p),
		Use:               "request PORT [DATA|-]", Short: "Write a frame and print the device's answer", Args: rangeArgs(1, 2),
		Long: "Writes DATA, or what standard input holds, as one frame, and prints the answer. Nothing else is written in between, whoever sends it.\n\n" +
			"The answer is one frame, unless --frames, --until or --gap say where it ends; the first that comes true does.",
		Example: "  supervisor request psu 'MEAS:VOLT?'\n  supervisor request modem AT+CSQ --until '^(OK|ERROR)'\n" +
			"  supervisor request plc --hex '01 03 00 00 00 02 c4 0b' --gap 5ms",
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := regexp.Compile(o.Until); err != nil {
				return usagef("--until: %w", err)
			}
			if o.Timeout < 0 || o.Gap < 0 || o.Settle < 0 || o.Frames < 0 {
				return usagef("--timeout, --gap, --settle and --frames cannot be negative")
			}
			if o.Timeout == 0 {
				return usagef("--timeout 0s: it takes a duration above 0, such as 500ms; --frames 0 waits for no answer")
			}
			none := c.Flags().Changed("frames") && o.Frames == 0
			if none {
				o.Frames = -1
			}
			data, err := frameOf(c.InOrStdin(), args[1:], asHex)
			if err != nil {
				return err
			}
			supervisor, err := client.Connect(c.Context(), p.running(), ipc.RoleSend)
			if err != nil {
				return err
			}
			defer supervisor.Close()
			answer, err := supervisor.Request(c.Context(), args[0], data, o)
			if err != nil || none {
				return err
			}
			return writeAnswer(c.OutOrStdout(), answer, asHex)
		},
	}
	c.Flags().BoolVar(&asHex, "hex", false, "DATA and the answer are in hexadecimal; spaces and colons do not matter")
	c.Flags().DurationVar(&o.Timeout, "timeout", client.DefaultTimeout, "how long the device has for its answer")
	c.Flags().IntVar(&o.Frames, "frames", 0, "how many frames the answer has; 0: return when DATA was written (default 1)")
	c.Flags().StringVar(&o.Until, "until", "", "the answer ends with the first frame that matches `REGEXP` (RE2)")
	c.Flags().DurationVar(&o.Gap, "gap", 0, "the answer ends when nothing has come for so long, such as 5ms")
	c.Flags().DurationVar(&o.Settle, "settle", 0, "before DATA is written, what comes for so long is no answer")
	leaseFlag(c, &o.Lease)
	return c
}

// writeAnswer prints an answer, with a line end if it has none.
func writeAnswer(out io.Writer, answer []byte, asHex bool) error {
	text := string(answer)
	if asHex {
		text = fmt.Sprintf("% x", answer)
	}
	if text == "" || text[len(text)-1] != '\n' {
		text += "\n"
	}
	_, err := io.WriteString(out, text)
	return err
}
