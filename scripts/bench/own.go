package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
	"github.com/serialvisor/serialvisor/scripts/usage"
)

// ownFigures are what only serialvisor is measured for.
type ownFigures struct {
	paced, flatOut         float64 // lines/s
	killReader, killWriter float64 // ms
	idleCPU                float64 // % of a core
	idleWakeups            float64
	start                  float64 // ms
}

func measureOwn() (ownFigures, error) {
	var f ownFigures
	fmt.Fprintln(os.Stderr, "serialvisor alone")
	g := gateways[file]
	var paced, flatOut, starts []float64
	for range *rounds {
		for _, rate := range []float64{40000, 0} {
			err := with(g, false, func(r *run, device *simulator.Pty, in <-chan receipt) error {
				const count = 200000
				before, err := r.status()
				if err != nil {
					return err
				}
				got, err := flood(device, in, count, rate)
				if err != nil {
					return err
				}
				after, err := r.status()
				if err != nil {
					return err
				}
				if n := after.Ports[0].Rx.Frames - before.Ports[0].Rx.Frames; n != count || after.Ports[0].Rx.LostHistory != 0 {
					return fmt.Errorf("status counts %d of %d lines", n, count)
				}
				if rate > 0 {
					paced = append(paced, got)
				} else {
					flatOut = append(flatOut, got)
				}
				return nil
			})
			if err != nil {
				return f, err
			}
		}
	}
	f.paced, f.flatOut = median(paced), median(flatOut)
	err := with(g, false, func(r *run, _ *simulator.Pty, _ <-chan receipt) (err error) {
		if f.idleCPU, f.idleWakeups, err = idle(r, 20*time.Second); err != nil {
			return err
		}
		if f.killReader, err = kills(r, 0); err != nil {
			return err
		}
		f.killWriter, err = kills(r, 1)
		return err
	})
	if err != nil {
		return f, err
	}
	for range 5 {
		took, err := startTime()
		if err != nil {
			return f, err
		}
		starts = append(starts, took)
	}
	f.start = median(starts)
	return f, nil
}

// kills measures from kill -9 of a worker until its successor is at work: it runs, and its ready pipe (descriptor 5) is
// closed, which is what it does right after it has said READY=1. Milliseconds, median of 20.
func kills(r *run, worker int) (float64, error) {
	var took []float64
	for range 20 {
		s, err := r.status()
		if err != nil {
			return 0, err
		}
		supervisor, old := s.PID, s.Workers[worker].PID
		time.Sleep(200 * time.Millisecond) // it has been at work, as in life
		begun := time.Now()
		if err := unix.Kill(old, unix.SIGKILL); err != nil {
			return 0, err
		}
		name := []byte(ipc.EnvWorker + "=" + s.Workers[worker].Name + "\x00")
		for !successorReady(supervisor, old, name) {
			if time.Since(begun) > 10*time.Second {
				return 0, fmt.Errorf("%s did not come back", s.Workers[worker].Name)
			}
		}
		took = append(took, time.Since(begun).Seconds()*1000)
	}
	return median(took), nil
}

func successorReady(supervisor, old int, name []byte) bool {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", supervisor, supervisor))
	for pid := range strings.FieldsSeq(string(children)) {
		if pid == strconv.Itoa(old) {
			continue
		}
		environ, _ := os.ReadFile("/proc/" + pid + "/environ")
		if !bytes.Contains(environ, name) {
			continue
		}
		target, err := os.Readlink("/proc/" + pid + "/fd/5")
		_, deviceErr := os.Readlink("/proc/" + pid + "/fd/3")
		return deviceErr == nil && (err != nil || !strings.HasPrefix(target, "pipe:"))
	}
	return false
}

// idle measures a gateway with nothing to do.
func idle(r *run, length time.Duration) (percent, wakeups float64, err error) {
	s, err := r.status()
	if err != nil {
		return 0, 0, err
	}
	cpu, switches := usage.CPU(s.PID), switchesOf(s)
	time.Sleep(length)
	percent = 100 * (usage.CPU(s.PID) - cpu) / length.Seconds()
	return percent, switchesOf(s) - switches, nil
}

// switchesOf counts the voluntary context switches of all threads of the workers.
func switchesOf(s ipc.Status) float64 {
	sum := 0.0
	for _, w := range s.Workers {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", w.PID))
		for _, task := range tasks {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", w.PID, task.Name()))
			_, rest, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
			text, _, _ := strings.Cut(rest, "\n")
			n, _ := strconv.ParseFloat(strings.TrimSpace(text), 64)
			sum += n
		}
	}
	return sum
}

// cpuAt measures the CPU time of all processes of a gateway at 100 lines/s.
func cpuAt(r *run, device *simulator.Pty, in <-chan receipt) (float64, error) {
	tree := func() float64 {
		sum := 0.0
		for _, cmd := range r.cmds {
			sum += cpuOfTree(cmd.Process.Pid)
		}
		return sum
	}
	before := tree()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(*pace); time.Now().Before(end); {
		<-tick.C
		if _, err := device.Write(lineAt(0, lineBytes)); err != nil {
			return 0, err
		}
		<-in
	}
	return tree() - before, nil
}

func cpuOfTree(pid int) float64 {
	sum := usage.CPU(pid)
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for child := range strings.FieldsSeq(string(children)) {
			n, _ := strconv.Atoi(child)
			sum += cpuOfTree(n)
		}
	}
	return sum
}

// startTime measures from the exec of a supervisor to the first frame of a device that speaks all the time, on a tap that
// connects as soon as it can. Milliseconds.
func startTime() (float64, error) {
	r, err := newRun()
	if err != nil {
		return 0, err
	}
	defer r.stop()
	device, err := simulator.Open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = device.Close() }()
	go func() { // ends when the device is closed
		for {
			if _, err := device.Write(lineAt(monotonic(), lineBytes)); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	begun := time.Now()
	config := fmt.Sprintf("broker: {listen: 127.0.0.1:0}\nports: {dev: {device: %s}}\n", device.Path())
	if err := os.WriteFile(r.dir+"/c.yaml", []byte(config), 0o600); err != nil {
		return 0, err
	}
	if err := r.command(nil, "bin/supervisor", "run", "--config", r.dir+"/c.yaml", "--state-dir", r.state()); err != nil {
		return 0, err
	}
	var lines <-chan receipt
	if err := until(func() (err error) { lines, err = r.subscribe(); return err }); err != nil {
		return 0, err
	}
	select {
	case <-lines:
		return time.Since(begun).Seconds() * 1000, nil
	case <-time.After(10 * time.Second):
		return 0, fmt.Errorf("no frame in 10 s")
	}
}
