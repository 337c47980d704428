package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/serialvisor/serialvisor/internal/capture"
	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
	"github.com/serialvisor/serialvisor/internal/supervisor"
)

func demoCommand(p *places) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Run a gateway with simulated devices", Args: noArgs,
		Long: "Runs a gateway with two simulated devices: gps says its position once a second, echo answers each line.\n" +
			"Nothing outside a temporary folder is touched.",
		RunE: func(c *cobra.Command, _ []string) error {
			if p.config != "" {
				return usagef("the demo has a config of its own; leave --config out, or use supervisor run")
			}
			return demo(c.Context(), c.OutOrStdout(), p.stateDir)
		},
	}
}

// demo runs until ctx ends. With an empty stateDir it makes a temporary one and removes it in the end.
func demo(ctx context.Context, out io.Writer, stateDir string) (err error) {
	if stateDir == "" {
		if stateDir, err = os.MkdirTemp("", "serialvisor-demo-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(stateDir) }()
	}
	devices, err := demoDevices()
	if err != nil {
		return err
	}
	defer devices.close()
	conf, err := config.Parse("the demo's config", []byte(fmt.Sprintf(demoConfig, freeAddress("127.0.0.1:4222"), devices.gps.Path(), devices.echo.Path())))
	if err != nil {
		return err
	}
	conf.Log.Level = 4 // warnings: what is running is on stdout

	log, _, closeLog := openLog(conf.Log)
	defer closeLog()
	running, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return simulator.GPS{Pty: devices.gps}.Run(running) })
	group.Go(func() error { return simulator.Echo{Pty: devices.echo}.Run(running) })
	err = supervisor.Run(running, conf, supervisor.Options{
		StateDir: stateDir, Version: version, Log: log,
		Ready: func(b ipc.BrokerStatus) {
			fmt.Fprint(out, introduction(b.URL, stateDir))
			group.Go(func() error { return demoTraffic(running, out, stateDir) })
		},
	})
	stop()
	return errors.Join(err, group.Wait())
}

const demoConfig = `
name: demo
broker: {listen: %q}
ports:
  gps:
    device: %s
    baud: 4800
    framing: {type: line, delimiter: "\r\n"}
  echo:
    device: %s
history: {max_age: 1h, max_bytes: 16MiB}
`

// introduction says what runs and what to try.
func introduction(url, stateDir string) string {
	return strings.NewReplacer("{self}", ourselves(), "{dir}", stateDir, "{url}", url).Replace(`
serialvisor demo: two simulated serial devices, shared at {url}

  gps   says where it is, once a second
  echo  answers each line

Try in a second terminal, in this folder:

  {self} tap gps --state-dir {dir}
  {self} send echo hello --state-dir {dir}
  {self} status --state-dir {dir}

or with any NATS client (the nats command: go install github.com/nats-io/natscli/nats@latest):

  eval "$({self} env --state-dir {dir})"
  nats sub 'serial.*.rx'

What the ports receive (←) and send (→) follows. Ctrl-C ends the demo.

`)
}

// ourselves is what to type for this program.
func ourselves() string {
	self := os.Args[0]
	if !strings.Contains(self, "/") {
		return "supervisor"
	}
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, self); err == nil && !strings.HasPrefix(relative, "..") {
			return "./" + relative
		}
	}
	return self
}

// remindEvery is after how many rows it is said again what to try, as the introduction has scrolled away.
const remindEvery = 20

// demoTraffic prints what happens, as supervisor tap would.
func demoTraffic(ctx context.Context, out io.Writer, stateDir string) error {
	c, err := client.Connect(client.Place{StateDir: stateDir}, ipc.RoleTap)
	if err != nil {
		return err
	}
	defer c.Close()
	printer := &client.Printer{Out: out, Colour: isTerminal(out), Width: len("echo")}
	rows := 0
	return c.Tap(ctx, client.TapOptions{}, func(r capture.Record) error {
		if rows++; rows%remindEvery == 0 {
			if _, err := fmt.Fprintf(out, "\n  in a second terminal, in this folder: %s send echo hello --state-dir %s\n\n", ourselves(), stateDir); err != nil {
				return err
			}
		}
		return printer.Print(r)
	})
}

// demoPtys are the simulated devices.
type demoPtys struct{ gps, echo *simulator.Pty }

func demoDevices() (demoPtys, error) {
	gps, err := simulator.Open()
	if err != nil {
		return demoPtys{}, err
	}
	echo, err := simulator.Open()
	if err != nil {
		_ = gps.Close()
		return demoPtys{}, err
	}
	return demoPtys{gps, echo}, nil
}

func (d demoPtys) close() {
	_ = d.gps.Close()
	_ = d.echo.Close()
}

// freeAddress is the one that is wanted, or if it is taken one with a port that the system chooses.
func freeAddress(wanted string) string {
	l, err := net.Listen("tcp", wanted)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close()
	return wanted
}
