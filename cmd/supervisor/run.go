package main

import (
	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/interrupt"
	"github.com/serialvisor/serialvisor/internal/supervisor"
)

func runCommand(p *places) *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run the gateway in the foreground", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := p.load()
			if err != nil {
				log, _, closeLog := openLog(config.Log{})
				defer closeLog()
				supervisor.Abandon(log)
				return err
			}
			log, setLevel, closeLog := openLog(conf.Log)
			defer closeLog()
			upgrade, err := supervisor.Run(c.Context(), conf, supervisor.Options{
				StateDir: p.stateDirOf(conf), Version: version, Log: log, SetLevel: setLevel, Check: []string{"check", "--config", conf.Path},
			})
			if upgrade == nil {
				return err
			}
			if err != nil {
				log.Error("not everything was stopped before the upgrade", "error", err)
			}
			closeLog()
			return upgrade.Exec(interrupt.Cease)
		},
	}
}
