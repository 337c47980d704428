package main

import (
	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

func statusCommand(p *places) *cobra.Command {
	var json bool
	c := &cobra.Command{
		Use: "status", Short: "Show ports and workers of a running supervisor", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			supervisor, err := client.Connect(p.running(), ipc.RoleTap)
			if err != nil {
				return err
			}
			defer supervisor.Close()
			document, status, err := supervisor.StatusJSON(c.Context())
			if err != nil {
				return err
			}
			if json {
				_, err = c.OutOrStdout().Write(append(document, '\n'))
				return err
			}
			return client.WriteStatus(c.OutOrStdout(), status)
		},
	}
	c.Flags().BoolVar(&json, "json", false, "print one JSON document")
	return c
}
