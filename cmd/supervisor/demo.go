package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

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
				return usagef("demo has a config of its own and takes no --config; use supervisor run")
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
	conf, err := config.Parse("the demo's config", []byte(fmt.Sprintf(demoConfig, devices.gps.Path(), devices.echo.Path())))
	if err != nil {
		return err
	}
	conf.Log.Level = slog.LevelWarn // what is running is on stdout
	log, _, closeLog := openLog(conf.Log)
	defer closeLog()

	running, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return simulator.GPS{Pty: devices.gps}.Run(running) })
	group.Go(func() error { return simulator.Echo{Pty: devices.echo}.Run(running) })
	options := supervisor.Options{
		StateDir: stateDir, Version: version, Log: log,
		Ready: func(b ipc.BrokerStatus) {
			words := strings.NewReplacer("{self}", self(), "{dir}", quoted(stateDir), "{url}", b.URL)
			steps := words.Replace(demoSteps)
			fmt.Fprint(out, words.Replace(strings.Replace(introduction, "{steps}", steps, 1)))
			group.Go(func() error {
				err := demoTraffic(running, out, stateDir, steps)
				if errors.Is(err, syscall.EPIPE) { // as head(1) leaves
					stop()
					return nil
				}
				return err
			})
		},
	}
	_, err = supervisor.Run(running, conf, options)
	if errors.Is(err, syscall.EADDRINUSE) { // by another demo, or a broker: any other port is as good
		conf.Broker.Listen = "127.0.0.1:0"
		_, err = supervisor.Run(running, conf, options)
	}
	stop()
	return errors.Join(err, group.Wait())
}

const demoConfig = `
name: demo
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
const introduction = `
serialvisor demo: two simulated serial devices, shared at {url}

  gps   says where it is, once a second
  echo  answers each line

Try in a second terminal, in this folder:

{steps}
or with any NATS client (the nats command: go install github.com/nats-io/natscli/nats@latest):

  eval "$({self} env --state-dir {dir})"
  nats sub 'serial.*.rx'

What the ports receive (←) and send (→) follows. Ctrl-C ends the demo.

`

// demoSteps are what to type.
const demoSteps = `  {self} tap gps --state-dir {dir}
  {self} send echo hello --state-dir {dir}
  {self} status --state-dir {dir}
`

// self is how this program is called in a second terminal.
func self() string {
	path := os.Args[0]
	if !strings.Contains(path, "/") {
		return "supervisor"
	}
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, path); err == nil && !strings.HasPrefix(relative, "..") {
			return quoted("./" + relative)
		}
	}
	return quoted(path)
}

var plainWord = regexp.MustCompile(`^[\w./-]+$`)

// quoted is a word for a POSIX shell.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// demoReminder is after how many lines a terminal shows the steps again, which would scroll out of it else.
const demoReminder = 16

// demoTraffic prints what happens, as supervisor tap would.
func demoTraffic(ctx context.Context, out io.Writer, stateDir, steps string) error {
	c, err := client.Connect(ctx, client.Place{StateDir: stateDir}, ipc.RoleTap)
	if err != nil {
		return err
	}
	defer c.Close()
	printer := &client.Printer{Out: out, Colour: isTerminal(out)}
	printed := 0
	return c.Tap(ctx, client.TapOptions{Listening: printer.Align}, func(r capture.Record) error {
		if printed++; printer.Colour && printed%demoReminder == 0 {
			fmt.Fprintf(out, "\nTry in a second terminal, in this folder; Ctrl-C ends the demo:\n%s\n", steps)
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
