package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

// startLimit is how long a new supervisor may take until it answers: as long as the service's unit has it, for a large history.
const startLimit = 5 * time.Minute

func upgradeCommand(p *places) *cobra.Command {
	return &cobra.Command{
		Use: "upgrade", Short: "Have the programs that were installed meanwhile take over from those that run", Args: noArgs,
		Long: "Has the program that now stands where the running supervisor's stood take over from it, as SIGUSR2 does: in the same process, with\n" +
			"all devices open and all workers at work. No byte is lost or doubled, but for\n" +
			"queues and a history that are kept in memory, which begin anew as at any start. The new program checks the config\n" +
			"before; if it finds a mistake, or does not run, all is as before. It returns when the new one has taken ports and\n" +
			"workers over.",
		RunE: func(c *cobra.Command, _ []string) error {
			running, err := client.Connect(c.Context(), p.running(), ipc.RoleAdmin)
			if err != nil {
				return err
			}
			_, before, err := running.StatusJSON(c.Context())
			if err == nil {
				err = running.Upgrade(c.Context())
			}
			running.Close()
			if err != nil {
				return err
			}
			begun := time.Now()
			limited, cancel := context.WithTimeout(c.Context(), startLimit)
			defer cancel()
			after, err := client.AwaitOther(limited, p.running(), before)
			if err != nil {
				return fmt.Errorf("the upgrade has begun, but the new supervisor does not answer: %w", err)
			}
			if after, err = client.AwaitTakenOver(limited, p.running(), before); err != nil {
				return fmt.Errorf("version %s, before %s, has taken over and answers: %w; see `supervisor status`", after.Version, before.Version, err)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "version %s, before %s: pid %d, has taken ports and workers over after %s\n",
				after.Version, before.Version, after.PID, time.Since(begun).Round(time.Millisecond))
			return err
		},
	}
}
