package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// benchRequests measures the round trip of a request to a device that answers each line, in turn with one on another such
// device by a program that has it for itself. The devices are processes of their own, as devices are.
func benchRequests() error {
	fmt.Fprintln(os.Stderr, "requests")
	var request, direct []time.Duration
	for range *rounds {
		if err := measureRequests(&request, &direct); err != nil {
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

func measureRequests(request, direct *[]time.Duration) error {
	shared, stop, err := answeringDevice()
	if err != nil {
		return err
	}
	defer stop()
	alone, stop, err := answeringDevice()
	if err != nil {
		return err
	}
	defer stop()
	r, err := newRun()
	if err != nil {
		return err
	}
	defer r.stop()
	if _, err := gateways[none].start(r, shared, false); err != nil {
		return err
	}
	port, err := os.OpenFile(alone, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
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
		*request = append(*request, time.Since(begun))
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
		*direct = append(*direct, time.Since(begun))
	}
	return nil
}

// answeringDevice starts this program once more as a device that answers, and returns its path.
func answeringDevice() (path string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, "-answer")
	cmd.Stderr = os.Stderr
	life, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = life.Close()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start a device: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

// runAnswer is such a device, until its input ends.
func runAnswer() error {
	d, err := simulator.Open()
	if err != nil {
		return err
	}
	fmt.Println(d.Path())
	go answerLines(d) // ends when the device is closed
	_, _ = io.Copy(io.Discard, os.Stdin)
	return d.Close()
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
