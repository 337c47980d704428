package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
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

// playBetween is the new supervisor. It does what it is to do as one that runs a gateway, or else, with "checked" before that, when it
// has found the config good and said its version.
func playBetween(folder string) int {
	do, err := os.ReadFile(filepath.Join(folder, betweenFile))
	words := strings.Fields(string(do))
	switch {
	case err != nil:
	case words[0] == "checked" && os.Args[1] == "--version":
		check := exec.Command(filepath.Join(folder, nextProgram), os.Args[1:]...)
		check.Stdout, check.Stderr = os.Stdout, os.Stderr
		if err = check.Run(); err == nil {
			err = doBetween(folder, words[1:])
		}
		if err == nil {
			return 0
		}
	case words[0] != "checked" && os.Args[1] == "run":
		err = doBetween(folder, words)
	}
	if err == nil {
		err = syscall.Exec(filepath.Join(folder, nextProgram), os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "between two supervisors:", err)
	return 1
}

func doBetween(folder string, words []string) error {
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
	case "stop": // as the program before does that was asked to
		return os.Setenv("SERIALVISOR_STOP", "1")
	case "take": // an address, until a file is there
		taken, err := net.Listen("tcp", words[1])
		if err != nil {
			return err
		}
		file, err := taken.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		holder := exec.Command("sh", "-c", "while [ ! -e "+words[2]+" ]; do sleep 0.05; done")
		holder.ExtraFiles = []*os.File{file}
		return holder.Start() // nobody waits for it
	case "remove":
		return os.Remove(words[1])
	case "spoil": // a file
		spoilt := words[1] + ".new"
		if err := os.WriteFile(spoilt, []byte("nonsense: 1\n"), 0o700); err != nil {
			return err
		}
		return os.Rename(spoilt, words[1])
	}
	return fmt.Errorf("it is not known how to %q in %s", words, folder)
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
