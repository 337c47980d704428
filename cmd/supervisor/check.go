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
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: good, %d ports\n", conf.Path, len(conf.Ports))
			return err
		},
	}
}
