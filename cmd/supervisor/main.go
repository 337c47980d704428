// Command supervisor runs a serial port gateway, and talks to one that runs.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/interrupt"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

var version = ipc.Version

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// Workers are started from the main thread, see supervisor.Run. An init function runs on it, and binds the main
// goroutine to it.
func init() { runtime.LockOSThread() }

func main() {
	ctx := interrupt.Context(func() { os.Exit(exitFailed) }) // the second time at once; workers die with their parent
	os.Exit(exitCode(root().ExecuteContext(ctx)))
}

// exitCode prints an error and says what the process ends with.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var problems config.Problems
	var usage usageError
	var command commandError
	switch {
	case errors.As(err, &command):
		return int(command)
	case errors.Is(err, errReported):
		return exitUsage
	case errors.As(err, &problems):
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "supervisor: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "supervisor: %v\n", err)
	return exitFailed
}

// usageError is a mistake in what was typed or configured.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errReported says that the verb has printed what is wrong with the config.
var errReported = errors.New("reported")

func root() *cobra.Command {
	c := &cobra.Command{
		Use: "supervisor", Short: "Share serial ports among programs",
		Long: "serialvisor gives every program safe access to the same serial ports at the same time,\n" +
			"through a NATS broker inside this supervisor. Try it without a device: supervisor demo",
		Version: version, SilenceErrors: true, SilenceUsage: true,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if before, _, wrong := strings.Cut(err.Error(), ": time: "); wrong {
			return usagef("%s: write a number and a unit, such as 50ms, 2s, 10m or 24h", before)
		}
		if before, _, wrong := strings.Cut(err.Error(), ": strconv."); wrong {
			return usagef("%s: write a whole number, such as 5", before)
		}
		return usageError{err}
	})
	p := &places{}
	c.PersistentFlags().StringVar(&p.config, "config", "", "configuration `FILE` (default ./serialvisor.yaml, then /etc/serialvisor/serialvisor.yaml)")
	c.PersistentFlags().StringVar(&p.stateDir, "state-dir", "", "state `FOLDER` (default: state_dir of the config, else a system folder)")
	c.AddCommand(runCommand(p), demoCommand(p), checkCommand(p), statusCommand(p), envCommand(p), tapCommand(p), sendCommand(p),
		requestCommand(p), leaseCommand(p), controlCommand(p), exportCommand(p), replayCommand(), portsCommand(p), doctorCommand(p),
		workerCommand(p, ipc.StartWorker, "Start a worker that was stopped, or waits"), workerCommand(p, ipc.StopWorker, "Stop a worker until it is started again"),
		workerCommand(p, ipc.RestartWorker, "Stop a worker and start it again"), reloadCommand(p), upgradeCommand(p), passwdCommand(), nkeyCommand(), guardCommand())
	return c
}

// noArgs is cobra.NoArgs with exit code 2.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no %q; see %s --help", c.CommandPath(), args[0], c.CommandPath())
	}
	return nil
}

// rangeArgs is cobra.RangeArgs with exit code 2 and the usage line.
func rangeArgs(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("usage: %s", c.UseLine())
		}
		return nil
	}
}
