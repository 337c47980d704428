package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

func leaseCommand(p *places) *cobra.Command {
	ttl, holder := ipc.DefaultLease, ""
	c := &cobra.Command{
		ValidArgsFunction: completePorts(p),
		Use:               "lease PORT [-- COMMAND...]", Short: "Be the only one that writes to a port",
		Long: "Takes the right to be the only one that writes to PORT, and holds it while COMMAND runs, or until Ctrl-C. COMMAND finds the token in\n" +
			client.EnvLease + ", where supervisor send and request look for it, and in NATS_URL, NATS_USER and NATS_PASSWORD how to connect. Frames that\n" +
			"others queue meanwhile wait; their requests are refused.",
		Example: "  supervisor lease plc -- ./calibrate.sh\n  supervisor lease plc --ttl 10s",
		Args:    rangeArgs(1, 1000),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 1 && c.ArgsLenAtDash() != 1 {
				return usagef("usage: %s", c.UseLine())
			}
			if ttl < ipc.ShortestLease || ttl > ipc.LongestLease {
				return usagef("--ttl %s: it is %s to %s", ttl, ipc.ShortestLease, ipc.LongestLease)
			}
			if holder == "" {
				holder = ourName()
			}
			return lease(c.Context(), p.running(), c.OutOrStdout(), args[0], holder, ttl, args[1:])
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", ttl, "how long it lasts when this program can no longer renew it")
	c.Flags().StringVar(&holder, "holder", "", "the `NAME` that others are told (default: user, host and process)")
	return c
}

// lease holds a lease while a command runs, or until ctx ends.
func lease(ctx context.Context, place client.Place, out io.Writer, port, holder string, ttl time.Duration, command []string) error {
	supervisor, err := client.Connect(ctx, place, ipc.RoleSend)
	if err != nil {
		return err
	}
	defer supervisor.Close()
	held, err := supervisor.Acquire(ctx, port, holder, ttl)
	if err != nil {
		return err
	}
	keeping, stop := context.WithCancel(ctx)
	defer stop()
	lost := make(chan error, 1)
	go func() { // waited for below
		err := held.Keep(keeping)
		if err != nil && len(command) > 0 {
			fmt.Fprintf(os.Stderr, "supervisor: the lease is lost, and others may write, while the command runs: %v\n", err)
		}
		lost <- err
	}()
	if len(command) == 0 {
		fmt.Fprintf(os.Stderr, "supervisor: port %s is leased until Ctrl-C; in another terminal, before supervisor send or request:\n", port)
		if _, err = fmt.Fprintf(out, "export %s=%s\n", client.EnvLease, held.Token); err == nil {
			err = <-lost
		}
	} else {
		var credentials ipc.Credentials
		if credentials, err = place.Credentials(ipc.RoleSend); err == nil {
			err = runLeased(ctx, command, credentials, held.Token)
		}
		stop()
		if gone := <-lost; gone != nil {
			return errors.Join(err, errLeaseLost)
		}
		if gone := held.Held(context.WithoutCancel(ctx)); gone != nil {
			fmt.Fprintf(os.Stderr, "supervisor: the lease was lost while the command ran: %v\n", gone)
			return errors.Join(err, errLeaseLost)
		}
	}
	if ended := held.Release(context.WithoutCancel(ctx)); err == nil {
		err = ended
	}
	return err
}

var errLeaseLost = errors.New("the command did not have the port for itself to its end")

// patienceWithCommand is how long a command may take to end after SIGTERM.
const patienceWithCommand = 5 * time.Second

// runLeased runs a command, and has it end when ctx does.
func runLeased(ctx context.Context, command []string, c ipc.Credentials, token string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), client.EnvLease+"="+token, ipc.EnvURL+"="+c.URL, ipc.EnvUser+"="+c.User, ipc.EnvPassword+"="+c.Password, ipc.EnvRoot+"="+c.Root)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patienceWithCommand
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal()) // as a shell has it
	}
	return commandError(code)
}

// commandError is the exit code of a command that was run, which becomes ours. It has said itself what was wrong.
type commandError int

func (e commandError) Error() string { return fmt.Sprintf("the command ended with %d", int(e)) }

// ourName is who we are, for others to see.
func ourName() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	name = fmt.Sprintf("%.24s@%.24s", name, host)
	return fmt.Sprintf("%s pid %d", name, os.Getpid())
}
