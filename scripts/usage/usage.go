// Package usage is what processes take of the machine, as measurements note it. Of one that is gone it is nothing.
package usage

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is what a process has in memory, in MiB. In pss what it shares with others counts as its part of it;
// /proc/PID/smaps_rollup in proc_pid_smaps(5).
func Memory(pid int) (rss, pss float64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		kB, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "Rss:":
			rss = kB / 1024
		case "Pss:":
			pss = kB / 1024
		}
	}
	return rss, pss
}

// CPU is the CPU time of a process in seconds, its reaped children not included; fields 14 and 15 of proc_pid_stat(5).
func CPU(pid int) float64 {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // USER_HZ
}
