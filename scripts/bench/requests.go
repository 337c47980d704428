package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// benchRequests measures the round trip of a request to a device that answers each line, in turn with one on another such
// device by a program that has it for itself.
func benchRequests() error {
	fmt.Fprintln(os.Stderr, "requests")
	var request, direct []time.Duration
	for range *rounds {
		err := with(gateways[none], false, func(r *run, device *simulator.Pty, _ <-chan receipt) error {
			alone, err := simulator.Open()
			if err != nil {
				return err
			}
			defer func() { _ = alone.Close() }()
			for _, d := range []*simulator.Pty{device, alone} {
				go answerLines(d) // ends when the device is closed
			}
			port, err := os.OpenFile(alone.Path(), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
			if err != nil {
				return err
			}
			defer func() { _ = port.Close() }()
			answers := bufio.NewReader(port)
			nc, err := r.connect(ipc.RoleSend)
			if err != nil {
				return err
			}
			defer nc.Close()
			subject := ipc.Subjects{Root: ipc.DefaultRoot}.Request("dev")
			for n := range *lines {
				time.Sleep(5 * time.Millisecond)
				question := lineAt(int64(n), lineBytes)
				begun := time.Now()
				m, err := nc.Request(subject, question, 5*time.Second)
				if err != nil {
					return err
				}
				request = append(request, time.Since(begun))
				if want := "re: " + string(question); string(m.Data)+"\n" != want {
					return fmt.Errorf("the answer is %q, want %q", m.Data, want)
				}
				time.Sleep(5 * time.Millisecond)
				begun = time.Now()
				if _, err := port.Write(question); err != nil {
					return err
				}
				if _, err := answers.ReadString('\n'); err != nil {
					return err
				}
				direct = append(direct, time.Since(begun))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	gatesHead()
	fmt.Printf("| a request's round trip, p50 of %d | | %.0f µs | |\n", len(request), percentile(request, 50))
	fmt.Printf("| writing and reading the port in one process, p50 | | %.0f µs | |\n", percentile(direct, 50))
	atMost("the one / the other", percentile(request, 50)/percentile(direct, 50), 4, "")
	fmt.Println()
	return nil
}

// answerLines is a device that answers each line.
func answerLines(d *simulator.Pty) {
	for in := bufio.NewReader(d); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(d, "re: "+line); err != nil {
			return
		}
	}
}
