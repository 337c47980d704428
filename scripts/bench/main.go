// Command bench measures serialvisor side by side with what people use today, on a device simulated on a pseudo-terminal.
// It prints tables in Markdown; scripts/bench.sh builds and runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

var (
	rounds = flag.Int("rounds", 3, "rounds; figures are medians over them")
	lines  = flag.Int("lines", 400, "lines of a latency measurement")
	only   = flag.String("only", "", "measure only: peers, requests, kills, ports, gaps, workers, busy, idle, output, taps")
	answer = flag.Bool("answer", false, "be a device that answers lines, for -only requests")
	worker = flag.String("worker", "", "be a worker of some mode, for -only workers")
	pace   = flag.Duration("cpu", 60*time.Second, "how long CPU time is measured at 100 lines/s")
)

// gateways are what is measured, ours first and the program that ratios are against second.
var gateways = []gateway{
	{"serialvisor, queue: file", ours("file")},
	{"serialvisor, queue: none", ours("none")},
	{"Python, multiprocessing", article},
	{"ser2net", ser2net("")},
	{"ser2net, chardelay=false", ser2net("  options:\n    chardelay: false\n")},
	{"socat", socat},
}

const file, none, python = 0, 1, 2

func main() {
	flag.Parse()
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench() error {
	if *answer {
		return runAnswer()
	}
	if *worker != "" {
		return runWorker(*worker)
	}
	for _, part := range []struct {
		name string
		run  func() error
	}{
		{"peers", benchPeers}, {"requests", benchRequests}, {"kills", benchKills}, {"ports", benchPorts}, {"gaps", benchGaps}, {"workers", benchWorkers},
		{"busy", benchBusy}, {"idle", benchIdle}, {"output", benchOutput}, {"taps", benchTaps},
	} {
		if *only == "" || *only == part.name {
			if err := part.run(); err != nil {
				return err
			}
		}
	}
	return nil
}

func benchPorts() error {
	f, err := measurePorts()
	if err == nil {
		printPorts(f)
	}
	return err
}

func benchGaps() error {
	f, err := measureGaps()
	if err == nil {
		printGaps(f)
	}
	return err
}

// benchPeers measures all gateways, and what concerns ours alone.
func benchPeers() error {
	if missing := missingPeers(); len(missing) > 0 {
		return fmt.Errorf("not all peers are there: apt-get install %s", strings.Join(missing, " "))
	}
	results := make([]figures, len(gateways))
	for round := range *rounds {
		for i, g := range gateways {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, *rounds, g.name)
			if err := measure(g, i, &results[i]); err != nil {
				return err
			}
		}
	}
	own, err := measureOwn()
	if err != nil {
		return err
	}
	printPeers(results)
	printGates(results, own)
	return nil
}

func missingPeers() []string {
	var missing []string
	for _, p := range []string{"ser2net", "socat"} {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if exec.Command("/usr/bin/python3", "-c", "import serial").Run() != nil {
		missing = append(missing, "python3-serial")
	}
	return missing
}

// figures are the measurements of one gateway, a value for each round.
type figures struct {
	oneWay50, oneWay99 []float64 // µs
	echo50, echo99     []float64 // µs
	echoRate           []float64 // lines/s
	cpu                []float64 // s
}

// measure does all measurements of one round.
func measure(g gateway, index int, f *figures) error {
	if index != none { // one way there is no queue
		err := with(g, false, func(r *run, device *simulator.Pty, in <-chan receipt) error {
			took, err := oneWay(device, in, *lines)
			if err != nil {
				return err
			}
			f.oneWay50, f.oneWay99 = append(f.oneWay50, percentile(took, 50)), append(f.oneWay99, percentile(took, 99))
			if len(f.cpu) > 0 {
				return nil
			}
			seconds, err := cpuAt(r, device, in)
			f.cpu = append(f.cpu, seconds)
			return err
		})
		if err != nil {
			return err
		}
	}
	err := with(g, true, func(_ *run, device *simulator.Pty, _ <-chan receipt) error {
		took, err := roundTrip(device, *lines)
		f.echo50, f.echo99 = append(f.echo50, percentile(took, 50)), append(f.echo99, percentile(took, 99))
		return err
	})
	if err != nil {
		return err
	}
	return with(g, true, func(_ *run, device *simulator.Pty, _ <-chan receipt) error {
		count := 20000
		if index == python {
			count = 3000
		}
		rate, err := echoRate(device, count)
		if err != nil {
			// A peer that loses bytes in a flood has no rate; that is a result.
			fmt.Fprintf(os.Stderr, "%s: echoed lines: %v\n", g.name, err)
			if index <= none {
				return err
			}
			return nil
		}
		f.echoRate = append(f.echoRate, rate)
		return nil
	})
}

func percentile(took []time.Duration, p int) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return float64(sorted[min(len(sorted)-1, len(sorted)*p/100)].Nanoseconds()) / 1000
}

// median is NaN-free: no values give -1, which prints as not measured.
func median(v []float64) float64 {
	if len(v) == 0 {
		return -1
	}
	sorted := slices.Sorted(slices.Values(v))
	return sorted[len(sorted)/2]
}
