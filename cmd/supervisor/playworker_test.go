package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/interrupt"
	"github.com/serialvisor/serialvisor/internal/ipc"
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
	ended := interrupt.Context(func() {}).Done()
	if role == "deaf" {
		signal.Ignore(syscall.SIGTERM)
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
	if role == "asks" {
		go askAgainAndAgain(name)
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

// askAgainAndAgain asks for the status over a connection of its own, and notes in a file when the supervisor that answers was
// started.
func askAgainAndAgain(name string) {
	nc, err := nats.Connect(os.Getenv("NATS_URL"), nats.UserInfo(os.Getenv("NATS_USER"), os.Getenv("NATS_PASSWORD")),
		nats.CustomInboxPrefix(os.Getenv("NATS_INBOX_PREFIX")), nats.MaxReconnects(-1))
	for ; err == nil; time.Sleep(20 * time.Millisecond) {
		var s ipc.Status
		m, err := nc.Request(ipc.Subjects{Root: os.Getenv("SERIALVISOR_ROOT")}.Status(), nil, time.Second)
		if err == nil && json.Unmarshal(m.Data, &s) == nil {
			_ = os.WriteFile(name+".answer", []byte(s.Started.Format(time.RFC3339Nano)), 0o600)
		}
	}
	fmt.Fprintln(os.Stderr, "<3>", err)
}
