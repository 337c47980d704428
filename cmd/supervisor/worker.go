package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/supervisor"
)

// workerCommand is start, stop or restart.
func workerCommand(p *places, action, short string) *cobra.Command {
	return &cobra.Command{
		Use: action + " WORKER", Short: short, Args: rangeArgs(1, 1),
		Long: short + ".\n\nWORKER is one of the config's workers. It returns when that is done.",
		RunE: func(c *cobra.Command, args []string) error {
			running, err := client.Connect(c.Context(), p.running(), ipc.RoleAdmin)
			if err != nil {
				return err
			}
			defer running.Close()
			status, err := running.Worker(c.Context(), args[0], action)
			if err != nil {
				return err
			}
			what := string(status.State)
			if status.PID != 0 {
				what += fmt.Sprintf(", pid %d", status.PID)
			}
			if status.Message != "" {
				what += ", " + status.Message
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", status.Name, what)
			return err
		},
		ValidArgsFunction: completeWorkers(p),
	}
}

// guardCommand is for the supervisor itself.
func guardCommand() *cobra.Command {
	return &cobra.Command{
		Use: supervisor.GuardCommand + " MARK", Hidden: true, Args: rangeArgs(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			supervisor.Guard(args[0])
			return nil
		},
	}
}

// completeWorkers offers the names of a running supervisor's workers to the shell.
func completeWorkers(p *places) cobra.CompletionFunc {
	return complete(p, client.WorkerNames)
}

// completePorts offers the names of a running supervisor's ports.
func completePorts(p *places) cobra.CompletionFunc {
	return complete(p, client.PortNames)
}

// completionLimit is how long a shell that completes a line waits.
const completionLimit = time.Second

func complete(p *places, names func(ipc.Status) []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		soon, cancel := context.WithTimeout(c.Context(), completionLimit)
		defer cancel()
		running, err := client.Connect(soon, p.running(), ipc.RoleTap)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer running.Close()
		_, status, err := running.StatusJSON(soon)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(status), cobra.ShellCompDirectiveNoFileComp
	}
}
