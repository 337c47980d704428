package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

func reloadCommand(p *places) *cobra.Command {
	var dry, asJSON bool
	c := &cobra.Command{
		Use: "reload", Short: "Have a running supervisor take its config over anew", Args: noArgs,
		Long: "Has a running supervisor read its config again, as SIGHUP does. What has not changed in it is not touched. A config with mistakes\n" +
			"changes nothing. It prints what was started, stopped, restarted or changed in place.",
		RunE: func(c *cobra.Command, _ []string) error {
			running, err := client.Connect(c.Context(), p.running(), ipc.RoleAdmin)
			if err != nil {
				return err
			}
			defer running.Close()
			reply, err := running.Reload(c.Context(), dry)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(reply)
			}
			none, would := true, ""
			if dry {
				would = "would be "
			}
			for _, of := range []struct {
				what string
				list []string
			}{{"started", reply.Started}, {"stopped", reply.Stopped}, {"restarted", reply.Restarted}, {"changed", reply.Changed}, {"at the next start", reply.AtNextStart}} {
				for _, name := range of.list {
					none = false
					if _, err := fmt.Fprintf(c.OutOrStdout(), "%s%s: %s\n", would, of.what, name); err != nil {
						return err
					}
				}
			}
			if none {
				fmt.Fprintln(os.Stderr, "supervisor: nothing has changed")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would change, and change nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return c
}
