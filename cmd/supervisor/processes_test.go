package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The commands of a script that run programs beside it. What they print is in NAME.out and NAME.err while they run.
//
//	start NAME COMMAND...       starts a program
//	finish NAME [SIGNAL [CODE]] sends it a signal, such as TERM, and waits until it ends with CODE (0); a signal that
//	                            kills it gives 128 and its number, as in a shell. Without SIGNAL, or with NONE, it only waits.

type processesKey struct{}

type processes map[string]*exec.Cmd

func start(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: start NAME COMMAND...")
	}
	cmd := command(ts, args[1:])
	out, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	defer func() { _ = out.Close() }()
	errs, err := os.Create(ts.MkAbs(args[0] + ".err"))
	ts.Check(err)
	defer func() { _ = errs.Close() }()
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ts.Check(cmd.Start())
	ts.Value(processesKey{}).(processes)[args[0]] = cmd
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
			ts.Logf("[%s.err]\n%s", args[0], ts.ReadFile(args[0]+".err"))
		}
	})
}

// command is a program as exec would run it, below the script's control.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	path, err := exec.LookPath(args[0])
	if err != nil {
		path = filepath.Join(programs, args[0])
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "GORACE", "WORK"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

var signals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}

func finish(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 || len(args) > 3 {
		ts.Fatalf("usage: finish NAME [SIGNAL [CODE]]")
	}
	cmd, ok := ts.Value(processesKey{}).(processes)[args[0]]
	if !ok {
		ts.Fatalf("no program %s was started", args[0])
	}
	if len(args) > 1 && args[1] != "NONE" {
		ts.Check(cmd.Process.Signal(signals[args[1]]))
	}
	want := 0
	if len(args) > 2 {
		var err error
		want, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	late := time.AfterFunc(patience, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGQUIT) })
	defer late.Stop()
	_ = cmd.Wait() // the exit code says all
	code := cmd.ProcessState.ExitCode()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		code = 128 + int(status.Signal())
	}
	ts.Logf("[%s.err]\n%s", args[0], ts.ReadFile(args[0]+".err"))
	if code != want {
		ts.Fatalf("%s ended with %d, want %d", args[0], code, want)
	}
}
