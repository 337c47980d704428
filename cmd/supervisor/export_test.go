package main

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// lines is more history than pipes and windows hold.
const lines = 5000

// stocked is a gateway with a history of so many lines.
func stocked(t *testing.T) *gateway {
	t.Helper()
	g := startGateway(t)
	line := []byte("$GPRMC,030405.06,A,5332.5227,N,00958.9765,E,002.1,213.0,020126,,,A*5E\n")
	if _, err := g.device.Write(bytes.Repeat(line, lines)); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "every frame is stored", func() bool {
		return len(g.mustRun(t, nil, "export", "gps", "--format", "raw")) == lines*len(line)
	})
	return g
}

// unread starts a verb whose output goes into a pipe, and waits until that is as good as full.
func (g *gateway) unread(t *testing.T, args ...string) (cmd *program, out *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	verb := g.supervisor(args...)
	p := &program{errors: &output{}, ended: make(chan struct{})}
	verb.Stdout, verb.Stderr = write, p.errors
	if err := verb.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	p.process = verb.Process
	go func() {
		p.err = verb.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { _ = p.process.Kill() })
	waitUntil(t, "the pipe is full", func() bool {
		n, err := unix.IoctlGetInt(int(read.Fd()), unix.TIOCINQ)
		return err == nil && n >= 32<<10
	})
	return p, read
}

// An export that cannot go on says so, and does not wait for another supervisor.
func TestExportEndsWithItsSupervisor(t *testing.T) {
	g := stocked(t)
	export, out := g.unread(t, "export", "gps")
	if err := g.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	if _, err := new(bytes.Buffer).ReadFrom(out); err != nil {
		t.Fatal(err)
	}
	if <-export.ended; export.err == nil || !strings.Contains(export.errors.String(), "the supervisor has gone away before all was read") {
		t.Errorf("export: %v\n%s", export.err, export.errors)
	}
}

// An export ends with what was stored when it began, and not with what comes meanwhile.
func TestExportDoesNotFollow(t *testing.T) {
	g := stocked(t)
	export, out := g.unread(t, "export", "gps", "--format", "csv")
	if _, err := g.device.Write([]byte("too late\n")); err != nil {
		t.Fatal(err)
	}
	g.await(t, "more was read", func(s portNumbers) bool { return s.Rx.Frames == lines+1 })
	var got bytes.Buffer
	if _, err := got.ReadFrom(out); err != nil {
		t.Fatal(err)
	}
	if <-export.ended; export.err != nil {
		t.Fatalf("export: %v\n%s", export.err, export.errors)
	}
	if n := strings.Count(got.String(), ",rx,"); n != lines || strings.Contains(got.String(), "too late") {
		t.Errorf("%d frames were exported, want the %d that were there", n, lines)
	}
}

// Guards terminals against bytes that are not for them.
func TestExportSparesTerminals(t *testing.T) {
	g := startGateway(t)
	terminal, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	port, err := os.OpenFile(terminal.Path(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.Close() })
	for format, want := range map[string]int{"raw": exitUsage, "pcapng": exitUsage, "csv": 0, "jsonl": 0} {
		var errs bytes.Buffer
		cmd := g.supervisor("export", "gps", "--format", format)
		cmd.Stdout, cmd.Stderr = port, &errs
		_ = cmd.Run() // the exit code says all
		if got := cmd.ProcessState.ExitCode(); got != want || want != 0 && !strings.Contains(errs.String(), "write to a file with --output FILE") {
			t.Errorf("%s: exit code %d, want %d\n%s", format, got, want, &errs)
		}
	}
}
