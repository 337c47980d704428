package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// programs is the folder with the programs under test, built as they are shipped: three files side by side.
var programs string

func TestMain(m *testing.M) {
	if play := os.Getenv(workerRole); play != "" {
		os.Exit(playWorker(play))
	}
	if self, err := os.Executable(); err == nil && filepath.Base(self) == "supervisor" {
		os.Exit(playBetween(filepath.Dir(self)))
	}
	signal.Reset(syscall.SIGINT, syscall.SIGTERM) // of internal/interrupt: they end the tests
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "serialvisor-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs = filepath.Join(dir, "bin")
	args := []string{"build", "-o", programs + "/"}
	if raceDetector {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "../supervisor", "../reader", "../writer")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// patience is how long anything may take in a test: a condition that is waited for is met in milliseconds on an idle
// machine, and must not fail on a busy one.
const patience = time.Minute

// raceOptions make a data race in a program under test an error, see https://go.dev/doc/articles/race_detector.
const raceOptions = "atexit_sleep_ms=0 halt_on_error=1 exitcode=66"

// TestScripts runs the files in testdata/script, see https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript.
// Beside its commands there are those of devices_test.go and processes_test.go, and:
//
//	await PATTERN COMMAND...   runs COMMAND until what it prints matches
//	awaitfile PATTERN FILE     waits until FILE matches
//
// Programs under test are found in PATH.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", programs+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", raceOptions)
			env.Values[devicesKey{}] = pluggedIn{}
			env.Values[processesKey{}] = processes{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await, "awaitfile": awaitFile,
			"start": start, "finish": finish, "device": device, "unplug": unplug, "say": say, "saycopy": sayCopy, "hear": hear,
		},
	})
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: await PATTERN COMMAND...")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	last := ""
	until(ts, func() bool {
		cmd := command(ts, args[1:])
		// The outcome of a command that cannot work yet is part of what is waited for.
		out, _ := cmd.CombinedOutput()
		last = string(out)
		return pattern.MatchString(last) != neg
	}, func() string { return fmt.Sprintf("no match for %s in:\n%s", pattern, last) })
}

func awaitFile(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: awaitfile PATTERN FILE")
	}
	pattern, err := regexp.Compile("(?s)" + args[0])
	ts.Check(err)
	last := ""
	until(ts, func() bool {
		b, _ := os.ReadFile(ts.MkAbs(args[1])) // it may not be there yet
		last = string(b)
		return pattern.MatchString(last) != neg
	}, func() string { return fmt.Sprintf("no match for %s in %s:\n%s", pattern, args[1], last) })
}

// until waits for a condition.
func until(ts *testscript.TestScript, met func() bool, otherwise func() string) {
	for deadline := time.Now().Add(patience); !met(); {
		if time.Now().After(deadline) {
			ts.Fatalf("after %s: %s", patience, otherwise())
		}
		pause()
	}
}

// pause is how often a condition is looked at.
func pause() { <-time.After(10 * time.Millisecond) }
