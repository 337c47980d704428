package main

import (
	"fmt"
	"io"
	"time"
)

// print prints the account of a phase, in Markdown, and what is wrong.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\nPhase %s\n\n", r.phase.name)
	fmt.Fprintln(out, "| from the device | said | cut off | stored | lost with the device | lost with the supervisor | lost | doubled | out of order | no frame | sessions | seen live | again | missed live |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, row := range r.rows {
		c, l := row.received, row.rx
		fmt.Fprintf(out, "| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", row.port.name, c.said, c.cut, c.stored, c.withDevice,
			c.withSupervisor, c.lost, c.doubled, c.disorder, c.odd, c.sessions, l.seen, l.repeats, l.missed)
	}
	fmt.Fprintln(out, "\n| to the device | queued | unsure | told as sent | twice | not told | written | lost with the device | in hand, again | lost | doubled | garbled | out of order | seen live | again | missed live |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, row := range r.rows {
		c, l := row.written, row.tx
		fmt.Fprintf(out, "| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", row.port.name, c.queued, c.unsure, c.told,
			c.toldTwice, c.untold, c.written, c.withDevice, c.again, c.lost, c.doubled, c.garbled, c.disorder, l.seen, l.repeats, l.missed)
	}
	fmt.Fprintln(out)
	for _, c := range r.checks {
		if len(c.problems) > 0 {
			r.explain(out, c)
		}
	}
}

// shown is how many problems of a check are printed.
const shown = 5

// explain prints what is wrong, and what happened around that time.
func (r *report) explain(out io.Writer, c checked) {
	fmt.Fprintf(out, "FAILED: %s\n", c.what)
	printed := map[int]bool{} // events, by place
	for i, p := range c.problems {
		if i == shown {
			fmt.Fprintf(out, "  and %d more\n", len(c.problems)-i)
			break
		}
		fmt.Fprintf(out, "  %s  %s\n", clock(p.at), p.text)
		for k, e := range r.phase.actor.past {
			near := e.to > p.at-int64(8*time.Second) && e.began < p.at+int64(time.Second)
			concerns := e.hit && (!e.deed.ofPort() || c.port == "" || c.port == r.phase.ports[e.port].name)
			if near && concerns && !printed[k] {
				printed[k] = true
				fmt.Fprintf(out, "      %s  %s\n", clock(e.began), e.text)
			}
		}
	}
}

func clock(at int64) string { return time.Unix(0, at).Format("15:04:05.000000") }
