package broker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/broker"
)

// dial is a connection as a worker's, on which its user has signed in.
func dial(t *testing.T, b *broker.Broker, g broker.Grant) net.Conn {
	t.Helper()
	b.Grant(g)
	fd, err := b.Local()
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "worker")
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		t.Fatal(err)
	}
	user, err := json.Marshal(map[string]any{"user": g.Name, "pass": g.Password, "headers": true, "verbose": false})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s\r\nPING\r\n", user); err != nil {
		t.Fatal(err)
	}
	buffer, got := make([]byte, 4096), []byte(nil)
	for !bytes.HasSuffix(got, []byte("PONG\r\n")) {
		n, err := conn.Read(buffer)
		if got = append(got, buffer[:n]...); err != nil {
			t.Fatalf("%v behind %q", err, got)
		}
	}
	return conn
}

// A writer is killed while the broker has still much to read of what it said, and at the end that it wants frames. Its
// successor gets them, not it: they would stay away until there is another successor, and later ones overtake them.
func TestTheDeadGetNoFrames(t *testing.T) {
	// With one processor, as the supervisor on a small machine, what a process has left is read late.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	b := start(t, options(t))
	queue(t, b, "gps", "one", "two", "three")
	target := b.Target("gps")
	writer := b.WriterGrants(target)[0]
	for range 5 {
		conn := dial(t, b, writer)
		// Acknowledgements of nothing.
		var said bytes.Buffer
		for said.Len() < 16<<10 {
			fmt.Fprintf(&said, "PUB $JS.ACK.%s.%s.0 0\r\n\r\n", target.Stream, target.Consumer)
		}
		inbox, want := b.Credentials(writer).InboxPrefix+".x", `{"batch":10,"expires":5000000000}`
		fmt.Fprintf(&said, "SUB %s 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.%s.%s %s %d\r\n%s\r\n", inbox, target.Stream, target.Consumer, inbox, len(want), want)
		if _, err := conn.Write(said.Bytes()); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close() // as the kernel does
		if err := b.RevokeWorker("gps/writer", true); err != nil {
			t.Fatal(err)
		}
		if _, err := b.RewindQueue(t.Context(), "gps"); err != nil {
			t.Fatal(err)
		}
		// Time for the dead to be heard.
		consumer, err := stream(t, b.Control(), target.Stream).Consumer(t.Context(), target.Consumer)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline); {
			if info, err := consumer.Info(t.Context()); err != nil || info.NumAckPending > 0 {
				t.Fatalf("frames were handed to the dead: %+v, %v", info, err)
			}
		}
		if got := fetch(t, b, "gps", 3); !slices.Equal(got, []string{"one", "two", "three"}) {
			t.Fatalf("the successor got %q", got)
		}
	}
}
