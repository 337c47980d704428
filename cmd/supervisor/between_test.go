package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// This test's program can stand in for a new supervisor, when it has its name: then it does something that is to happen between
// the old one and the real new one, which it becomes.
const (
	nextProgram = "supervisor.next" // the real one, beside it
	betweenFile = "between"         // says what it is to do
)

// between installs new programs of which the supervisor does something when it takes over, before anything else.
func (g *gateway) between(t *testing.T, do ...any) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g.install(t)
	copyProgram(t, filepath.Join(programs, "supervisor"), filepath.Join(g.programs, nextProgram))
	copyProgram(t, self, filepath.Join(g.programs, "supervisor"))
	if err := os.WriteFile(filepath.Join(g.programs, betweenFile), []byte(fmt.Sprintln(do...)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// playBetween is the new supervisor. Only as one that runs a gateway it does what it is to do.
func playBetween(folder string) int {
	err := error(nil)
	if len(os.Args) > 1 && os.Args[1] == "run" {
		err = doBetween(folder)
	}
	if err == nil {
		err = syscall.Exec(filepath.Join(folder, nextProgram), os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "between two supervisors:", err)
	return 1
}

func doBetween(folder string) error {
	do, err := os.ReadFile(filepath.Join(folder, betweenFile))
	if err != nil {
		return err
	}
	words := strings.Fields(string(do))
	switch words[0] {
	case "kill": // and reap, so that nobody finds what was
		pid, err := strconv.Atoi(words[1])
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err == nil {
			_, err = syscall.Wait4(pid, nil, 0, nil)
		}
		return err
	}
	return fmt.Errorf("it is not known how to %q", words)
}

// guards lists the guards of a gateway's workers.
func (g *gateway) guards(t *testing.T) []int {
	t.Helper()
	mark, err := os.ReadFile(filepath.Join(g.dir, "state", "family"))
	if err != nil {
		t.Fatal(err)
	}
	return processesWith("guard\x00" + string(mark))
}
