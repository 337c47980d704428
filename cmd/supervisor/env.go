package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

func envCommand(p *places) *cobra.Command {
	var role string
	c := &cobra.Command{
		Use: "env", Short: "Print what other NATS clients need, for eval in a shell", Args: noArgs,
		Example: "  eval \"$(supervisor env)\"; nats sub 'serial.*.rx'",
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(ipc.Roles, ipc.Role(role)) {
				return usagef("--role %q is not known; use tap, send or admin", role)
			}
			place := p.running()
			place.Environ = false // it would print what the shell has already
			credentials, err := place.AwaitCredentials(c.Context(), ipc.Role(role))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), credentials.Export())
			return err
		},
	}
	c.Flags().StringVar(&role, "role", string(ipc.RoleTap), "rights to have: tap, send or admin")
	return c
}
