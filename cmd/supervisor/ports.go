package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/serialvisor/serialvisor/internal/client"
	"github.com/serialvisor/serialvisor/internal/devices"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

func portsCommand(p *places) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ports", Short: "List the serial devices of this machine", Args: noArgs,
		Long: "Lists serial devices with what names them: udev's links, and what usb: in a config takes. No device is opened.",
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := devices.List()
			if err != nil {
				return err
			}
			names := openPorts(c, p)
			listed := []listedDevice{}
			for _, d := range list {
				l := listedDevice{Device: d, Port: names[d.Path]}
				l.PID, l.Program = serialio.Holder(d.Path)
				listed = append(listed, l)
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(listed)
			}
			if len(listed) == 0 {
				fmt.Fprintln(os.Stderr, "supervisor: there are no serial devices; is the adapter plugged in? In a container devices must be passed in, see supervisor doctor")
				return nil
			}
			return writeDevices(c.OutOrStdout(), listed)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return c
}

// listedDevice is a device and who has it.
type listedDevice struct {
	devices.Device
	PID     int    `json:"pid"` // of a process that has it open; 0: none, or none that may be seen
	Program string `json:"program"`
	Port    string `json:"port,omitempty"` // of the running supervisor
}

// openPorts are the port names of a running supervisor, if there is one, by the path of their device.
func openPorts(c *cobra.Command, p *places) map[string]string {
	names := map[string]string{}
	supervisor, err := client.Connect(c.Context(), p.running(), ipc.RoleTap)
	if err != nil {
		return names
	}
	defer supervisor.Close()
	_, status, err := supervisor.StatusJSON(c.Context())
	if err != nil {
		return names
	}
	for _, port := range status.Ports {
		path, err := filepath.EvalSymlinks(port.Device)
		if err == nil && port.State == ipc.Open {
			names[path] = port.Name
		}
	}
	return names
}

// writeDevices writes a table, with the links of each device below it.
func writeDevices(out io.Writer, list []listedDevice) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PATH\tDRIVER\tUSB ID\tIF\tSERIAL\tPRODUCT\tHELD BY")
	for _, d := range list {
		row := []string{d.Path, orDash(d.Driver), "-", "-", "-", "-", d.holder()}
		if u := d.USB; u != nil {
			row[2], row[3], row[4] = u.VID+":"+u.PID, fmt.Sprint(u.Interface), orDash(u.Serial)
			row[5] = orDash(strings.TrimSpace(u.Manufacturer + " " + u.Product))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
		for _, link := range append(d.ByID, d.ByPath...) {
			fmt.Fprintf(t, "  %s\n", link) // a line without tabs does not count for the columns
		}
	}
	return t.Flush()
}

func (d listedDevice) holder() string {
	switch {
	case d.Port != "":
		return "port " + d.Port
	case d.PID != 0:
		return fmt.Sprintf("%s (pid %d)", d.Program, d.PID)
	}
	return "-"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
