// Command host boots the guest of the hardware tests in QEMU, holds the other ends of its serial ports, does what the
// guest orders, and prints what it reports. scripts/hwtest.sh builds what it needs and runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"
)

var (
	kernel = flag.String("kernel", "", "kernel to boot")
	initrd = flag.String("initrd", "", "its initial root file system")
	limit  = flag.Duration("limit", 10*time.Minute, "how long the guest may run")
	silent = flag.Duration("silent", 3*time.Minute, "how long the guest may be silent")
	only   = flag.String("only", "", "make only the checks whose names match this regular expression, which has no spaces")
	show   = flag.Bool("console", false, "show the guest's console at the end in any case")
)

// QEMU dies with the thread that started it, see Pdeathsig: that must be the main one.
func init() { runtime.LockOSThread() }

func main() {
	flag.Parse()
	s := &score{started: time.Now()}
	console := &tail{}
	err := run(s, console)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hwtest:", err)
	}
	if err != nil || s.failed > 0 || *show {
		fmt.Fprintf(os.Stderr, "--- console of the guest\n%s\n---\n", console)
	}
	fmt.Printf("%d passed, %d failed in %s\n", s.passed, s.failed, time.Since(s.started).Round(time.Second))
	if err != nil || s.failed > 0 || s.passed == 0 {
		os.Exit(1)
	}
}

// run boots the guest and serves it until it says that it is done.
func run(s *score, console *tail) error {
	m, err := boot(console)
	if err != nil {
		return err
	}
	defer m.stop()
	d := &desk{machine: m, score: s, ends: map[string]*end{}}
	for name, conn := range m.ends {
		d.ends[name] = newEnd(conn)
	}
	served := make(chan error, 1)
	alive := make(chan struct{}, 1)
	go func() { served <- d.serve(m.orders, alive) }() // stop closes what it reads
	whole := time.NewTimer(*limit)
	for {
		select {
		case err := <-served:
			if err == nil {
				return nil
			}
			select { // it may be for that
			case <-m.exited:
				err = fmt.Errorf("QEMU ended, %v: %w", m.result, err)
			case <-time.After(time.Second):
			}
			return err
		case <-m.exited:
			return fmt.Errorf("QEMU ended before the last check: %v", m.result)
		case <-alive:
		case <-time.After(*silent):
			return fmt.Errorf("the guest was silent for %s", *silent)
		case <-whole.C:
			return fmt.Errorf("the guest was not done after %s", *limit)
		}
	}
}

// score counts outcomes.
type score struct {
	passed, failed int
	started        time.Time
}
