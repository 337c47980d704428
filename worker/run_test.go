package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/worker"
)

// runTestWorker is this program as a worker.
func runTestWorker(mode string) {
	switch mode {
	case "echo": // sends back what it receives; hangs, fails or ends if told to
		worker.Run(func(ctx context.Context, w *worker.Worker) error {
			frames := w.Frames(ctx)
			go func() {
				for range w.Frames(ctx) { // does not make a worker alive whose other loop hangs
				}
			}()
			if err := w.Ready(); err != nil {
				return err
			}
			for f, err := range frames {
				if err != nil {
					return err
				}
				switch f.String() {
				case "hang":
					select {}
				case "fail":
					return errors.New("told to\nfail")
				case "end":
					return nil
				}
				if _, err := w.Send(ctx, f.Port, f.Data); err != nil {
					return err
				}
				if err := w.Status("sent " + f.String()); err != nil {
					return err
				}
			}
			return nil
		}, worker.ReadyLater())
	case "cancelled":
		worker.Run(func(ctx context.Context, w *worker.Worker) error {
			<-ctx.Done()
			return fmt.Errorf("while it worked: %w", ctx.Err())
		})
	}
}

// testWorker is one that a test has started, and what it says of itself.
type testWorker struct {
	cmd     *exec.Cmd
	errors  bytes.Buffer // to be read after end
	notices *net.UnixConn
}

// startTestWorker starts this program as a worker, with a socket as the supervisor makes one.
func startTestWorker(t *testing.T, mode, socket string, env []string) *testWorker {
	t.Helper()
	notices, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notices.Close() })
	w := &testWorker{cmd: exec.Command(os.Args[0]), notices: notices}
	w.cmd.Env = append(env, "WORKER_TEST_MODE="+mode, "NOTIFY_SOCKET="+socket)
	w.cmd.Stderr = &w.errors
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill(); _ = w.cmd.Wait() })
	return w
}

// says waits until the worker says something to the supervisor, and returns what it said before.
func (w *testWorker) says(t *testing.T, what string) (before []string) {
	t.Helper()
	if err := w.notices.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 4096)
	for {
		n, err := w.notices.Read(text)
		if err != nil {
			t.Fatalf("it did not say %s: %v", what, err)
		}
		if string(text[:n]) == what {
			return before
		}
		before = append(before, string(text[:n]))
	}
}

// ends waits for its end.
func (w *testWorker) ends(t *testing.T, code int, output string) {
	t.Helper()
	late := time.AfterFunc(patience, func() { _ = w.cmd.Process.Signal(syscall.SIGQUIT) })
	defer late.Stop()
	_ = w.cmd.Wait() // the code says all
	if got := w.cmd.ProcessState.ExitCode(); got != code || w.errors.String() != output {
		t.Errorf("it ended with %d and wrote %q, want %d and %q", got, w.errors.String(), code, output)
	}
}

func TestRun(t *testing.T) {
	gps := plug(t, nil)
	g := start(t, "ports: {gps: {device: "+gps.Path()+"}}")
	env := g.env(t, "send", "gps")

	w := startTestWorker(t, "echo", fmt.Sprintf("@serialvisor-test-%d", os.Getpid()), env)
	if before := w.says(t, "READY=1"); before != nil {
		t.Errorf("before it was ready it said %q", before)
	}
	gps.say(t, "hello\n")
	gps.hears(t, "hello\n")
	w.says(t, "STATUS=sent hello")
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.says(t, "STOPPING=1")
	w.ends(t, 0, "")

	w = startTestWorker(t, "echo", filepath.Join(g.dir, "notify"), env)
	w.says(t, "READY=1")
	gps.say(t, "fail\n")
	w.ends(t, 1, "<3>told to; fail\n")

	w = startTestWorker(t, "cancelled", filepath.Join(g.dir, "notify2"), env)
	w.says(t, "READY=1")
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	w.ends(t, 0, "")

	w = startTestWorker(t, "cancelled", filepath.Join(g.dir, "notify3"), append(env, "NATS_PASSWORD=wrong"))
	_ = w.cmd.Wait()
	if text := w.errors.String(); w.cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(text, "<3>worker: the gateway at ") || !strings.Contains(text, "password") {
		t.Errorf("with a wrong password it ended with %d and wrote %q", w.cmd.ProcessState.ExitCode(), text)
	}
}

// A worker that waits for frames is alive, one whose loop hangs is not.
func TestWatchdog(t *testing.T) {
	gps := plug(t, nil)
	g := start(t, "ports: {gps: {device: "+gps.Path()+"}}")
	const limit = time.Second
	w := startTestWorker(t, "echo", filepath.Join(g.dir, "notify"), append(g.env(t, "send", "gps"), fmt.Sprintf("WATCHDOG_USEC=%d", limit.Microseconds())))
	w.says(t, "READY=1")
	last := time.Now()
	for range 6 {
		w.says(t, "WATCHDOG=1")
		if d := time.Since(last); d > limit {
			t.Errorf("while it waited it said nothing for %s", d)
		}
		last = time.Now()
	}
	// A flood of frames does not make a flood of words: 200 of them take far less time than four words may.
	before := time.Now()
	gps.say(t, strings.Repeat("x\n", 200))
	words := 0
	for range 200 {
		for _, said := range w.says(t, "STATUS=sent x") {
			if said == "WATCHDOG=1" {
				words++
			}
		}
	}
	if most := 1 + int(time.Since(before)/(limit/4)); words > most {
		t.Errorf("it said so %d times in %s, more than %d", words, time.Since(before), most)
	}
	gps.say(t, "hang\n")
	if err := w.notices.SetReadDeadline(time.Now().Add(3 * limit)); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; {
		if _, err := w.notices.Read(make([]byte, 100)); err != nil {
			break // as a supervisor would find
		}
		if time.Since(begun) > limit {
			t.Fatal("a loop that hangs says that it is alive")
		}
	}
}
