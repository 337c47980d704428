package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workerRole is the variable that makes this test's program a worker, and says which.
const workerRole = "TEST_WORKER"

// playWorker is a worker that notes in its folder when it runs, and when it finds another of the same name at work.
func playWorker(role string) int {
	name := os.Getenv("SERIALVISOR_WORKER")
	alone, err := os.OpenFile(name+".alone", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, "<3>", err)
		return 1
	}
	if err := unix.Flock(int(alone.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = os.WriteFile(name+".two", nil, 0o600)
		return 1
	}
	_ = os.WriteFile(name+".pid", []byte(strconv.Itoa(os.Getpid())), 0o600)
	ended := make(chan os.Signal, 1)
	if role == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(ended, syscall.SIGTERM)
	}
	notify := func(text string) {
		if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
			if c, err := net.Dial("unixgram", socket); err == nil {
				_, _ = c.Write([]byte(text))
				_ = c.Close()
			}
		}
	}
	if role == "slow" { // to get ready
		for waited := false; !waited; time.Sleep(time.Millisecond) {
			_, err := os.Stat(name + ".go")
			waited = err == nil
		}
	}
	notify("READY=1\nSTATUS=at work as " + role)
	_ = os.WriteFile(filepath.Join(name+".ready"), []byte(time.Now().Format(time.RFC3339Nano)), 0o600)
	for {
		select {
		case <-ended:
			return 0
		case <-time.After(20 * time.Millisecond):
			notify("WATCHDOG=1")
		}
	}
}
