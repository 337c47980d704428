package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/supervisor"
)

func runCommand(p *places) *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run the gateway in the foreground", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := p.load()
			if err != nil {
				return err
			}
			return supervisor.Run(c.Context(), conf, supervisor.Options{
				StateDir: p.stateDirOf(conf), Version: version, Log: newLog(os.Stderr, conf.Log),
			})
		},
	}
}

func newLog(out io.Writer, c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
