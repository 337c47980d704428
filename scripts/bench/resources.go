package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/scripts/usage"
)

// workerMemory notes in a table what the workers have in memory, and all together, of which the supervisor is part.
func workerMemory(t *table, s ipc.Status) {
	var all, readers, writers []float64
	supervisorRSS, sum := usage.Memory(s.PID)
	supervisor := sum
	for _, w := range s.Workers {
		_, pss := usage.Memory(w.PID)
		all, sum = append(all, pss), sum+pss
		if strings.HasSuffix(w.Name, "/reader") {
			readers = append(readers, pss)
		} else {
			writers = append(writers, pss)
		}
	}
	t.atMost("PSS of a worker, mean", (sum-supervisor)/float64(len(all)), 4, " MiB")
	t.atMost("PSS of a worker, median", median(all), 4, " MiB")
	t.atMost("PSS of a worker, the largest", most(all), 4, " MiB")
	t.note("PSS of a reader, median", median(readers), " MiB")
	t.note("PSS of a writer, median", median(writers), " MiB")
	t.note("PSS of the supervisor", supervisor, " MiB")
	t.note("RSS of the supervisor", supervisorRSS, " MiB")
	t.note("PSS of all together", sum, " MiB")
}

// ranOf is the CPU time of a process in seconds, exact where usage.CPU counts in hundredths: of hundreds that do next to nothing
// those would add up to nothing. It is the first field of each thread's schedstat; sched-stats in the kernel's
// documentation.
func ranOf(pid int) (seconds float64) {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, task.Name()))
		if err != nil {
			return usage.CPU(pid) // a kernel without
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseFloat(first, 64)
		seconds += ns / 1e9
	}
	return seconds
}

// ran is what the supervisor, its workers together and this program have run, in seconds.
type ran struct{ supervisor, workers, bench float64 }

func ranSoFar(s ipc.Status) (of ran) {
	of.supervisor, of.bench = ranOf(s.PID), ranOf(os.Getpid())
	for _, w := range s.Workers {
		of.workers += ranOf(w.PID)
	}
	return of
}

// since is what of has run more than before, for each second of a time.
func (of ran) since(before ran, seconds float64) ran {
	return ran{(of.supervisor - before.supervisor) / seconds, (of.workers - before.workers) / seconds, (of.bench - before.bench) / seconds}
}
