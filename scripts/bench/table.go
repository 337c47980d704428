package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
)

// printPeers prints what was measured of each gateway, and against the Python program.
func printPeers(results []figures) {
	fmt.Printf("Lines of %d bytes, medians of %d rounds, %d cores. In brackets: against the Python program.\n\n", lineBytes, *rounds, runtime.NumCPU())
	fmt.Println("| | one way p50 µs | p99 µs | echo p50 µs | p99 µs | echoed lines/s | CPU s in", pace, "at 100 lines/s |")
	fmt.Println("|---|---|---|---|---|---|---|")
	base := results[python]
	for i, f := range results {
		fmt.Printf("| %s | %s | %s | %s | %s | %s | %s |\n", gateways[i].name,
			cell(f.oneWay50, base.oneWay50, 0), cell(f.oneWay99, base.oneWay99, 0), cell(f.echo50, base.echo50, 0), cell(f.echo99, base.echo99, 0),
			cell(f.echoRate, base.echoRate, 0), cell(f.cpu, base.cpu, 2))
	}
	fmt.Println()
}

func cell(v, base []float64, digits int) string {
	m, b := median(v), median(base)
	switch {
	case m < 0:
		return "–"
	case b <= 0:
		return fmt.Sprintf("%.*f", digits, m)
	}
	return fmt.Sprintf("%.*f (%.2f)", digits, m, m/b)
}

// printGates prints what must hold.
func printGates(results []figures, own ownFigures) {
	ratio := func(of, to []float64) float64 { return median(of) / median(to) }
	gatesHead()
	py := results[python]
	atMost("one-way latency p50 / Python's", ratio(results[file].oneWay50, py.oneWay50), 0.5, "")
	atMost("echo round trip p50 / Python's, queue: none", ratio(results[none].echo50, py.echo50), 1, "")
	atMost("echo round trip p50 / Python's, queue: file", ratio(results[file].echo50, py.echo50), 1.6, "")
	atLeast("echoed lines/s / Python's, queue: file", ratio(results[file].echoRate, py.echoRate), 8, "")
	atLeast("32-byte lines/s paced at 40,000, history on a file, none lost", own.paced, 37500, "")
	atLeast("the same as fast as they are taken", own.flatOut, 37500, "")
	atMost("kill -9 of the reader to its successor ready, p50", own.killReader, 25, " ms")
	atMost("kill -9 of the writer to its successor ready, p50", own.killWriter, 25, " ms")
	atMost("idle: CPU of the supervisor", own.idleCPU, 1, " % of a core")
	atMost("idle: voluntary context switches of both workers in 20 s", own.idleWakeups, 40, "")
	atMost("exec to the first frame on a tap, p50", own.start, 500, " ms")
	fmt.Println()
}

// printPorts prints what must hold of ports that come and go.
func printPorts(f portFigures) {
	gatesHead()
	atMost("unplugged to state missing, as a subscriber gets it, p50", f.missing, 50, " ms")
	atMost("the same, longest of 50", f.missingMost, 50, " ms")
	atMost("device there to state open, as a subscriber gets it, p50", f.open, 150, " ms")
	atMost("the same, longest of 50", f.openMost, 150, " ms")
	atMost("one-way latency p99 beside a port that is stuck / without", f.tap, 1.25, "")
	atMost("status p50 beside a port that is stuck / without", f.status, 1.25, "")
	fmt.Println()
}

func gatesHead() {
	fmt.Println("| what must hold | limit | measured | |")
	fmt.Println("|---|---|---|---|")
}

func atMost(what string, value, limit float64, unit string) {
	fmt.Printf("| %s | <= %g%s | %.2f%s | %s |\n", what, limit, unit, value, unit, verdict(value <= limit))
}

func atLeast(what string, value, limit float64, unit string) {
	fmt.Printf("| %s | >= %g%s | %.2f%s | %s |\n", what, limit, unit, value, unit, verdict(value >= limit))
}

func verdict(holds bool) string {
	if holds {
		return "holds"
	}
	return "FAILS"
}

// table collects what is measured in several rounds, a row for each thing.
type table struct{ rows []*row }

type row struct {
	what, unit string
	values     []float64 // one for each round
	limit      float64
	kind       rowKind
}

type rowKind int

const (
	noted    rowKind = iota // nothing must hold
	atMostIt                // the median is at most the limit
	never                   // the sum is 0
)

func (t *table) add(kind rowKind, what string, value, limit float64, unit string) {
	for _, r := range t.rows {
		if r.what == what {
			r.values = append(r.values, value)
			return
		}
	}
	t.rows = append(t.rows, &row{what, unit, []float64{value}, limit, kind})
}

func (t *table) note(what string, value float64, unit string) { t.add(noted, what, value, 0, unit) }

func (t *table) atMost(what string, value, limit float64, unit string) {
	t.add(atMostIt, what, value, limit, unit)
}

func (t *table) never(what string, value int64) { t.add(never, what, float64(value), 0, "") }

// inRounds prints what is measured in all rounds.
func inRounds(what string, measure func(*table) error) error {
	var t table
	for round := range *rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, *rounds, what)
		if err := measure(&t); err != nil {
			return err
		}
	}
	t.print()
	return nil
}

// print prints medians, and of what must never be the sum.
func (t *table) print() {
	gatesHead()
	for _, r := range t.rows {
		switch r.kind {
		case noted:
			fmt.Printf("| %s | | %s%s | |\n", r.what, short(median(r.values)), r.unit)
		case atMostIt:
			m := median(r.values)
			fmt.Printf("| %s | <= %g%s | %s%s | %s |\n", r.what, r.limit, r.unit, short(m), r.unit, verdict(m <= r.limit))
		case never:
			sum := 0.0
			for _, v := range r.values {
				sum += v
			}
			fmt.Printf("| %s | 0 | %s | %s |\n", r.what, short(sum), verdict(sum == 0))
		}
	}
	fmt.Println()
}

// short is a number with at most two decimals.
func short(v float64) string { return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64) }
