package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/scripts/hwtest/order"
)

const kills = 50

var killChecks = []check{
	{fmt.Sprintf("%d kills of workers on each device: DTR and settings stay, traffic goes on", kills), checkKills},
	{"what comes in while a reader dies is published by the next", checkBuffered},
}

// ends are the host's names of devices.
var ends = map[string]string{uart: order.UART, ftdi: order.FTDI}

// checkKills lowers DTR, kills readers and writers in turn while lines go in and out, and looks whether anybody has
// opened the device or set it again. The trace shows what was done to the chips, termios and modem lines what is left.
func checkKills(h *host) (string, error) {
	var figures []string
	err := withGateway(bothPorts, func(g *gateway) error {
		if err := g.awaitOpen("uart", "ftdi"); err != nil {
			return err
		}
		before := map[string]unix.Termios{}
		for _, p := range bothPorts {
			err := g.withLine(p.device, func(l *line) (err error) {
				if before[p.device], err = l.termios(); err != nil {
					return err
				}
				return l.clear(unix.TIOCM_DTR)
			})
			if err != nil {
				return err
			}
		}
		if err := h.startTrace(); err != nil {
			return err
		}
		var group errgroup.Group
		results := make([]string, len(bothPorts))
		for i, p := range bothPorts {
			group.Go(func() (err error) {
				results[i], err = killUnderTraffic(h, g, p)
				return err
			})
		}
		err := group.Wait()
		events, traceErr := h.endTrace()
		if err = errors.Join(err, traceErr); err != nil {
			return err
		}
		if len(events) > 0 {
			return fmt.Errorf("the chips were touched %d times, as in %s", len(events), events[0])
		}
		for _, p := range bothPorts {
			if err := g.withLine(p.device, func(l *line) error { return unchanged(l, before[p.device]) }); err != nil {
				return fmt.Errorf("%s: %w", p.device, err)
			}
		}
		// What the driver itself says, without a descriptor.
		if lines, err := driverLines(); err != nil || slices.Contains(lines, "DTR") || !slices.Contains(lines, "RTS") {
			return fmt.Errorf("/proc/tty/driver/serial has %v of ttyS1, %v, want RTS without DTR", lines, err)
		}
		figures = results
		if n := g.refused.Load(); n > 0 {
			figures = append(figures, fmt.Sprintf("%d attempts to queue a frame that nobody took: %s", n, g.aboutStore()))
		}
		return nil
	})
	return strings.Join(figures, "; "), err
}

// unchanged wants settings as before, and DTR low.
func unchanged(l *line, before unix.Termios) error {
	after, err := l.termios()
	if err != nil {
		return err
	}
	if after != before {
		return fmt.Errorf("termios was %+v and is %+v", before, after)
	}
	modem, err := l.modem()
	if err == nil && modem&(unix.TIOCM_DTR|unix.TIOCM_RTS) != unix.TIOCM_RTS {
		err = fmt.Errorf("TIOCMGET is %#x, want RTS without DTR", modem)
	}
	return err
}

var ttyS1 = regexp.MustCompile(`(?m)^1: uart:16550A .*?(\S*)$`)

// driverLines are the modem lines of ttyS1 in /proc/tty/driver/serial: "1: uart:16550A port:000002F8 irq:3 tx:5 rx:7
// RTS|CTS|DTR".
func driverLines() ([]string, error) {
	text, err := os.ReadFile("/proc/tty/driver/serial")
	if err != nil {
		return nil, err
	}
	m := ttyS1.FindStringSubmatch(string(text))
	if m == nil {
		return nil, fmt.Errorf("no ttyS1 in:\n%s", text)
	}
	return strings.Split(m[1], "|"), nil
}

// killUnderTraffic kills the workers of a port in turn. Lines go in all the time, and a frame out for each kill.
func killUnderTraffic(h *host, g *gateway, p port) (string, error) {
	in, err := g.receive(p.name)
	if err != nil {
		return "", err
	}
	defer func() { _ = in.sub.Unsubscribe() }()
	if err := h.each(ends[p.device], order.Forget); err != nil {
		return "", err
	}
	if err := h.say(ends[p.device], p.name, 0, 20*time.Millisecond); err != nil {
		return "", err
	}
	err = killInTurn(g, p.name)
	frames, _ := in.frames()
	killed := len(frames)
	if err == nil {
		err = until("lines come in after the last kill", func() bool {
			frames, _ := in.frames()
			return len(frames) > killed+5
		})
	}
	last, quietErr := h.quiet(ends[p.device])
	if err = errors.Join(err, quietErr); err != nil {
		return "", err
	}
	err = until("the last line comes in", func() bool {
		frames, _ := in.frames()
		return slices.Contains(frames[killed:], fmt.Sprintf("%s-%06d", p.name, last))
	})
	if err != nil {
		return "", err
	}
	twice, err := sentInOrder(h, ends[p.device], p.name+"-out", kills)
	if err != nil {
		return "", err
	}
	if twice > 0 {
		return "", fmt.Errorf("%d of %d frames went out twice", twice, kills)
	}
	// A live tap may get a line again after a kill; none may be missing.
	frames, _ = in.frames()
	slices.Sort(frames)
	if got := len(slices.Compact(frames)); got != last {
		return "", fmt.Errorf("%d of %d lines came in", got, last)
	}
	return fmt.Sprintf("%s: all of %d lines came in, %d frames went out once each", p.name, last, kills), nil
}

// killInTurn kills reader and writer alternately and waits each time until there is a new one.
func killInTurn(g *gateway, port string) error {
	for i := range kills {
		name := port + "/" + []string{"reader", "writer"}[i%2]
		w, err := g.worker(name)
		if err != nil {
			return err
		}
		if err := g.queue(port, fmt.Sprintf("%s-out-%06d", port, i+1)); err != nil {
			return err
		}
		if err := syscall.Kill(w.PID, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %s: %w", name, err)
		}
		err = until(name+" is replaced", func() bool {
			now, err := g.worker(name)
			return err == nil && now.State == ipc.WorkerRunning && now.PID != w.PID
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sentInOrder wants the frames PREFIX-000001 to count at the host, each at least once and none before its turn, and
// returns how many came more than once.
func sentInOrder(h *host, end, prefix string, count int) (twice int, err error) {
	var heard []string
	err = until("all frames go out", func() bool {
		all, err := h.heard(end)
		heard = slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, prefix+"-") })
		return err != nil || slices.Contains(heard, fmt.Sprintf("%s-%06d", prefix, count))
	})
	if err != nil {
		return 0, fmt.Errorf("%w; went out: %v", err, heard)
	}
	next := 1
	for _, line := range heard {
		n, err := strconv.Atoi(strings.TrimPrefix(line, prefix+"-"))
		switch {
		case err != nil || n > next:
			return 0, fmt.Errorf("%s went out where %d was due, of %v", line, next, heard)
		case n < next:
			twice++
		default:
			next++
		}
	}
	if next != count+1 {
		return 0, fmt.Errorf("%d of %d frames went out", next-1, count)
	}
	return twice, nil
}

const (
	buffered      = 600 // lines, more than a line discipline holds
	bufferedKills = 3
)

// checkBuffered stops a reader, lets lines come in, and kills it: they are in the kernel, and no process has them.
func checkBuffered(h *host) (string, error) {
	return fmt.Sprintf("%d of %d lines in %d kills on each device", buffered*bufferedKills, buffered*bufferedKills, bufferedKills),
		withGateway(bothPorts, func(g *gateway) error {
			if err := g.awaitOpen("uart", "ftdi"); err != nil {
				return err
			}
			for _, p := range bothPorts {
				for range bufferedKills {
					if err := killStopped(h, g, p); err != nil {
						return fmt.Errorf("%s: %w", p.name, err)
					}
				}
			}
			return nil
		})
}

func killStopped(h *host, g *gateway, p port) error {
	in, err := g.receive(p.name)
	if err != nil {
		return err
	}
	defer func() { _ = in.sub.Unsubscribe() }()
	w, err := g.worker(p.name + "/reader")
	if err != nil {
		return err
	}
	// What it has read before is acknowledged then: there is nothing in its hands.
	if err := until("the reader is idle", func() bool { return idle(w.PID) }); err != nil {
		return err
	}
	if err := syscall.Kill(w.PID, syscall.SIGSTOP); err != nil {
		return err
	}
	if err := until("the reader has stopped", func() bool { return stopped(w.PID) }); err != nil {
		return err
	}
	if err := h.say(ends[p.device], p.name, buffered, 0); err != nil {
		return err
	}
	// Until the driver has all that the line discipline takes; the rest waits in the driver, or in the adapter.
	err = g.withLine(p.device, func(l *line) error {
		return until("the kernel has taken the lines", func() bool {
			n, err := unix.IoctlGetInt(l.fd, unix.TIOCINQ)
			return err != nil || n >= min(4000, buffered*len(p.name+"-000001\n"))
		})
	})
	if err != nil {
		return err
	}
	if err := syscall.Kill(w.PID, syscall.SIGKILL); err != nil {
		return err
	}
	last := fmt.Sprintf("%s-%06d", p.name, buffered)
	err = until("the last line is published", func() bool {
		frames, _ := in.frames()
		return slices.Contains(frames, last)
	})
	frames, gaps := in.frames()
	if err == nil && (len(frames) != buffered || gaps > 0 || !slices.IsSorted(frames)) {
		err = errors.New("something is missing or doubled")
	}
	if err != nil {
		err = fmt.Errorf("%d of %d lines came, in order: %t, flagged gap: %d: %w", len(frames), buffered, slices.IsSorted(frames), gaps, err)
	}
	return err
}

// stopped says whether all threads of a process are: a signal reaches one that runs on another processor a little later.
func stopped(pid int) bool {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, task.Name()))
		_, state, _ := strings.Cut(string(stat), ") ") // proc_pid_stat(5)
		if !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return len(tasks) > 0
}
