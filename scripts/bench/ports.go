package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// portFigures are about devices that come and go, and one that is stuck.
type portFigures struct {
	missing, missingMost float64 // ms from the unplugging to the state's publication
	open, openMost       float64 // ms from the device's name to the state's publication
	tap, status          float64 // p99 of a port's latency and p50 of status: beside a stuck port / without
}

func measurePorts() (f portFigures, err error) {
	fmt.Fprintln(os.Stderr, "serialvisor's ports")
	if err := plugging(&f, 50); err != nil {
		return f, fmt.Errorf("unplug and plug in: %w", err)
	}
	var tap, status [2][]float64 // without and with a stuck port
	for range *rounds {
		for i, stuck := range []bool{false, true} {
			t, s, err := beside(stuck)
			if err != nil {
				return f, fmt.Errorf("beside a port that is stuck: %w", err)
			}
			tap[i], status[i] = append(tap[i], t), append(status[i], s)
		}
	}
	f.tap, f.status = median(tap[1])/median(tap[0]), median(status[1])/median(status[0])
	return f, nil
}

// serve starts a gateway with some ports and connects to it.
func serve(r *run, ports string) (*nats.Conn, error) {
	path := filepath.Join(r.dir, "c.yaml")
	if err := os.WriteFile(path, []byte("name: bench\nbroker: {listen: 127.0.0.1:0}\nports:\n"+ports), 0o600); err != nil {
		return nil, err
	}
	if err := r.command(nil, "bin/supervisor", "run", "--config", path, "--state-dir", r.state()); err != nil {
		return nil, err
	}
	err := until(func() error {
		s, err := r.status()
		for _, p := range s.Ports {
			if err == nil && (p.State != ipc.Open || !s.Ready) {
				err = fmt.Errorf("port %s is %s", p.Name, p.State)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r.connect(ipc.RoleSend)
}

// plugging measures how soon it is noticed that a device goes and comes.
func plugging(f *portFigures, times int) error {
	r, err := newRun()
	if err != nil {
		return err
	}
	defer r.stop()
	link := filepath.Join(r.dir, "device")
	plug := func() (*simulator.Pty, error) {
		device, err := simulator.Open()
		if err == nil {
			err = device.Link(link)
		}
		return device, err
	}
	device, err := plug()
	if err != nil {
		return err
	}
	nc, err := serve(r, "  dev: {device: "+link+"}\n")
	if err != nil {
		return err
	}
	defer nc.Close()
	states, err := nc.SubscribeSync(ipc.Subjects{Root: ipc.DefaultRoot}.State("dev"))
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		return err
	}
	next := func(want ipc.State, since time.Time) (float64, error) {
		m, err := states.NextMsg(10 * time.Second)
		took := time.Since(since)
		var s ipc.PortState
		if err == nil {
			err = json.Unmarshal(m.Data, &s)
		}
		if err == nil && s.State != want {
			err = fmt.Errorf("state %s, want %s", s.State, want)
		}
		return took.Seconds() * 1000, err
	}
	var missing, open []float64
	for range times {
		if err := os.Remove(link); err != nil {
			return err
		}
		begun := time.Now()
		_ = device.Close()
		took, err := next(ipc.Missing, begun)
		if err != nil {
			return err
		}
		missing = append(missing, took)
		time.Sleep(100 * time.Millisecond) // as quick as a hand may be
		if device, err = plug(); err != nil {
			return err
		}
		if took, err = next(ipc.Open, time.Now()); err != nil {
			return err
		}
		open = append(open, took)
	}
	_ = device.Close()
	f.missing, f.missingMost = median(missing), most(missing)
	f.open, f.openMost = median(open), most(open)
	return nil
}

// beside measures a port's latency and the time that status takes, µs, beside a port whose device takes nothing, or does.
func beside(stuck bool) (tap, status float64, err error) {
	r, err := newRun()
	if err != nil {
		return 0, 0, err
	}
	defer r.stop()
	device, err := simulator.Open()
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = device.Close() }()
	other, err := simulator.Open()
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = other.Close() }()
	nc, err := serve(r, "  dev: {device: "+device.Path()+"}\n  other: {device: "+other.Path()+"}\n")
	if err != nil {
		return 0, 0, err
	}
	defer nc.Close()
	subjects := ipc.Subjects{Root: ipc.DefaultRoot}
	if stuck {
		// More than a pseudo-terminal holds: its writer is in the middle of a frame for as long as this runs.
		if _, err := nc.Request(subjects.Tx("other"), make([]byte, 60000), 5*time.Second); err != nil {
			return 0, 0, err
		}
	}
	in, err := r.subscribe()
	if err != nil {
		return 0, 0, err
	}
	if err := warmUp(device, in, false); err != nil {
		return 0, 0, err
	}
	took, err := oneWay(device, in, 2**lines)
	if err != nil {
		return 0, 0, err
	}
	var asked []time.Duration
	for range 300 {
		begun := time.Now()
		if _, err := nc.Request(subjects.Status(), nil, 5*time.Second); err != nil {
			return 0, 0, err
		}
		asked = append(asked, time.Since(begun))
	}
	return percentile(took, 99), percentile(asked, 50), nil
}

func most(v []float64) float64 {
	longest := 0.0
	for _, x := range v {
		longest = max(longest, x)
	}
	return longest
}
