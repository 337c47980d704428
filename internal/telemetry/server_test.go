package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// TestHealth asks a server for a gateway that is well, and for one that is not.
func TestHealth(t *testing.T) {
	well := &fixed{snapshot: Snapshot{Status: ipc.Status{Ready: true}}}
	ill := &fixed{snapshot: Snapshot{Status: ipc.Status{NotReady: []string{"store full: no room", "port gps is closed"}}}, problem: errors.New("it hangs")}
	for _, c := range []struct {
		source *fixed
		path   string
		code   int
		body   string
	}{
		{well, "/healthz", 200, "ok\n"}, {well, "/readyz", 200, "ready\n"},
		{ill, "/healthz", 503, "it hangs\n"}, {ill, "/readyz", 503, "store full: no room\nport gps is closed\n"},
		{well, "/other", 404, "404 page not found\n"},
	} {
		s, err := Listen("127.0.0.1:0", slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx, c.source) }()
		r, err := http.Get(s.URL() + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || r.StatusCode != c.code || string(body) != c.body {
			t.Errorf("%s answered %d %q, %v; want %d %q", c.path, r.StatusCode, body, err, c.code, c.body)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}

// TestUsage reads what a child uses that has worked for a moment, and nothing of a process that is nobody's child.
func TestUsage(t *testing.T) {
	child := exec.Command("sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read line")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("done\n"))); err != nil {
		t.Fatal(err)
	}
	u, ok := readUsage(child.Process.Pid)
	if !ok || u.resident < 100<<10 || u.resident > 100<<20 || u.cpu < 0.02 || u.cpu > 60 {
		t.Errorf("it uses %+v, %v", u, ok)
	}
	_ = in.Close()
	_ = child.Wait() // its end is all that matters
	if u, ok := readUsage(child.Process.Pid); ok {
		t.Errorf("a process that is gone uses %+v", u)
	}
	if u, ok := readUsage(os.Getppid()); ok {
		t.Errorf("a process that is no child uses %+v", u)
	}
}

// TestListen has an address that is taken.
func TestListen(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := Listen("127.0.0.1:0", log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	address := strings.TrimPrefix(s.URL(), "http://")
	if _, err := Listen(address, log); err == nil || !strings.Contains(err.Error(), "metrics cannot listen on "+address+": address already in use; set metrics.listen") {
		t.Errorf("said %v", err)
	}
}
