package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/config"
)

func checkCommand(p *places) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Validate the configuration", Args: noArgs,
		Long: "Prints every problem as file:line:column: key: what is wrong, and exits with 2 if there is one.",
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := p.load()
			var problems config.Problems
			if errors.As(err, &problems) {
				// They are what was asked for, so they are results.
				fmt.Fprintln(c.OutOrStdout(), problems)
				return errReported
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: good, %s\n", conf.Path, contents(conf))
			return err
		},
	}
}

// contents counts what a config has.
func contents(c *config.Config) string {
	count := func(n int, what string) string {
		if n == 1 {
			return "1 " + what
		}
		return fmt.Sprintf("%d %ss", n, what)
	}
	text := count(len(c.Ports), "port")
	if n := len(c.Workers); n > 0 {
		text += ", " + count(n, "worker")
	}
	return text
}
