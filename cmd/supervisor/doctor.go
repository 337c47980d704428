package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/config"
	"github.com/serialvisor/serialvisor/internal/devices"
	"github.com/serialvisor/serialvisor/internal/doctor"
	"github.com/serialvisor/serialvisor/internal/ipc"
)

func doctorCommand(p *places) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "Say what stands in the way of using serial ports", Args: noArgs,
		Long: "Looks at the devices of the config, permissions, programs that grab ports, latency, the state folder and the broker's address.\n" +
			"Prints a line for each, with what to do about it, and exits with 1 if something does not work. No device is opened.",
		RunE: func(c *cobra.Command, _ []string) error {
			findings, err := examine(c, p)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(findings)
			} else {
				for _, f := range findings {
					fmt.Fprintln(c.OutOrStdout(), f)
				}
			}
			if err == nil && slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Level == doctor.Fail }) {
				err = errors.New("something does not work, see above")
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return c
}

// examine looks at everything. A config that is wrong or not there is a finding like others.
func examine(c *cobra.Command, p *places) ([]doctor.Finding, error) {
	var findings []doctor.Finding
	conf, err := p.load()
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		for _, problem := range problems {
			findings = append(findings, doctor.Finding{Level: doctor.Fail, What: problem.String()})
		}
	case err != nil && p.config != "":
		return nil, err
	case err != nil:
		findings = append(findings, doctor.Finding{Level: doctor.Warn, What: "there is no config; this looks at the machine alone", Remedy: "name one with --config"})
	default:
		findings = append(findings, doctor.Finding{Level: doctor.OK, What: conf.Path + " is a good config"})
	}
	patient := doctor.Patient{Config: conf, StateDir: p.stateDirOf(conf), Tree: devices.Tree{Sys: "/sys", Dev: "/dev"}, Root: "/"}
	place := client.Place{StateDir: patient.StateDir}
	if supervisor, err := client.Connect(c.Context(), place, ipc.RoleTap); err == nil {
		defer supervisor.Close()
		if _, status, err := supervisor.StatusJSON(c.Context()); err == nil {
			patient.Running = &status
		}
	}
	if holder, held := place.Holder(); held && patient.Running == nil {
		patient.Silent = holder.PID
	}
	more, err := doctor.Examine(patient)
	return append(findings, more...), err
}
