// Command chaos has traffic pass both ways through gateways while whatever can fail is killed, stopped or unplugged at random,
// and accounts for every frame in the end; scripts/chaos.sh builds and runs it. The events follow from a seed, which it prints.
//
// There are two phases. In the first, kept, the supervisor runs under a stand-in for a service manager that keeps descriptors,
// as systemd does; in the second, lost, it does not. Devices on pseudo-terminals say frames, sending processes queue some,
// of which each is known to the byte by its number. What is expected:
//
//	                        of what a device says                    of what was acknowledged to a sender
//	it stays plugged in,    is in the history once, in order,        comes to the device once, whole and in order,
//	descriptors are kept    in one session                           and is in the history as sent once
//	it is unplugged         what a pseudo-terminal holds can be      the same; the frame in hand comes again,
//	                        lost, and the last frame be cut off:     whole, to the next device
//	                        it is flagged partial
//	the supervisor is       what it had in ring and pipe is lost,    nothing is lost; the frame in hand comes again
//	killed, nothing kept    and nothing is doubled                   from its beginning, and before it such of which
//	                                                                 the history did not know that they were sent
//	the same, ended         nothing is lost                          nothing is lost; the frame in hand comes again
//
// It does not matter that readers, writers, taps and senders are killed or stopped, nor that the supervisor is stopped. A tap
// sees all that is stored while it is connected, some of it twice. A frame that a sender was not told of is queued or not, and
// not twice.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var (
	length   = flag.Duration("for", 60*time.Second, "how long there is traffic, over both phases")
	seed     = flag.Uint64("seed", 0, "what the events follow from (default: a random one)")
	ports    = flag.Int("ports", 4, "how many ports a gateway has: text and binary ones, every other is unplugged now and then")
	only     = flag.String("only", "", "have one phase only: kept or lost")
	programs = flag.String("programs", "bin", "`FOLDER` with the programs under test")
	asSender = flag.String("send", "", "for this program's own use: be a sending process")
)

func main() {
	flag.Parse()
	if *asSender != "" {
		if err := sendAs(*asSender); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	passed, failed, err := chaos(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		failed++
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

// chaos has both phases and says how many checks have passed and failed. An error means that not all were made.
func chaos(ctx context.Context) (passed, failed int, err error) {
	if *seed == 0 {
		*seed = uint64(rand.Uint32())
	}
	fmt.Printf("seed %d\n", *seed)
	if *ports < 1 {
		return 0, 0, fmt.Errorf("-ports %d: there must be some", *ports)
	}
	dir, err := os.MkdirTemp("", "serialvisor-chaos-")
	if err != nil {
		return 0, 0, err
	}
	held, err := room()
	if err != nil {
		return 0, 0, err
	}
	phases := []*phase{{name: "kept", keeps: true}, {name: "lost"}}
	shares := []float64{0.6, 0.4}
	for i, p := range phases {
		share := shares[i]
		if *only != "" {
			share = 1
		}
		if *only != "" && *only != p.name {
			continue
		}
		// The kernel takes a little more or less, by the size of writes.
		p.ports, p.seed, p.dir, p.room = plan(*ports), *seed+uint64(i), dir, 2*held
		r, err := p.run(ctx, *programs, time.Duration(share*float64(*length)))
		if err != nil {
			return passed, failed, fmt.Errorf("phase %s: %w; its folder is %s", p.name, err, p.dir)
		}
		r.print(os.Stdout)
		passed, failed = passed+len(r.checks)-r.failed(), failed+r.failed()
	}
	if failed > 0 {
		fmt.Printf("What was stored and logged is in %s, with the events in events.log. Again: scripts/chaos.sh %s\n", dir, again())
		return passed, failed, nil
	}
	return passed, failed, os.RemoveAll(dir)
}

// again is the arguments that repeat the events.
func again() string {
	arguments := []string{fmt.Sprintf("-seed %d -for %s -ports %d", *seed, *length, *ports)}
	if *only != "" {
		arguments = append(arguments, "-only "+*only)
	}
	return strings.Join(arguments, " ")
}
