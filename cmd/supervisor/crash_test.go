package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// buildCrashing builds programs whose workers can be killed at named points, see internal/crash.
func buildCrashing(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"build", "-tags", "crashpoints", "-o", dir + "/"}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "../supervisor", "../reader", "../writer")...).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// crashPoints lists the points that the sources name, so that none is forgotten here.
func crashPoints(t *testing.T) (points []string) {
	t.Helper()
	for _, dir := range []string{"ring", "reader", "writer"} {
		files, err := filepath.Glob("../../internal/" + dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, rest := range strings.Split(string(text), `crash.Point("`)[1:] {
				name, _, _ := strings.Cut(rest, `"`)
				points = append(points, name)
			}
		}
	}
	return points
}

// A worker is killed at each point between two steps: the history has each line once, and the device gets each frame once.
func TestKilledAtEachPoint(t *testing.T) {
	programs := buildCrashing(t)
	points := crashPoints(t)
	if len(points) < 19 {
		t.Fatalf("the sources name the points %q only", points)
	}
	folder := t.TempDir()
	t.Setenv("SERIALVISOR_CRASH", folder)
	for _, queue := range []string{"file", "none"} {
		g := startGatewayFrom(t, programs, "queue: "+queue)
		nc := g.connect(t, "send")
		var said, sent, heard bytes.Buffer
		number := 0
		// request asks the device, which answers what has come to it, and says whether that came back.
		request := func() bool {
			t.Helper()
			takeAll(t, g, &heard, sent.Len(), 0)
			g.await(t, "nothing of before is left to be received", func(p portNumbers) bool { return p.Rx.Bytes == uint64(said.Len()) })
			number++
			frame, answer := fmt.Sprintf("ask %d\n", number), fmt.Sprintf("re: %d", number)
			answered := make(chan bool, 1)
			go func() {
				for {
					m, err := nc.Request("serial.gps.request", []byte(frame), 3*time.Second)
					if !errors.Is(err, nats.ErrNoResponders) { // then there is a writer
						answered <- err == nil && string(m.Data) == answer
						return
					}
					pause()
				}
			}()
			for over := false; !over && heard.Len() == sent.Len(); {
				over = len(answered) > 0
				takeAll(t, g, &heard, sent.Len(), len(frame))
			}
			if heard.Len() > sent.Len() {
				sent.WriteString(frame)
				said.WriteString(answer + "\n")
				time.Sleep(50 * time.Millisecond) // a device takes its time, and the writer waits
				if _, err := g.device.Write([]byte(answer + "\n")); err != nil {
					t.Fatal(err)
				}
			}
			return <-answered
		}
		// leased has one frame pass another.
		leased := func() {
			t.Helper()
			number++
			held, other := fmt.Sprintf("held %d\n", number), fmt.Sprintf("other %d\n", number)
			token := acquire(t, nc, `{"action": "acquire"}`)
			queueFrame(t, nc, other, "")
			queueFrame(t, nc, held, token)
			sent.WriteString(held)
			takeAll(t, g, &heard, sent.Len(), 0)
			if _, code := askLease(t, nc, `{"action": "release", "token": "`+token+`"}`); code != "" {
				t.Fatalf("release: code %s", code)
			}
			sent.WriteString(other)
		}
		exchange := func() (answered bool) {
			t.Helper()
			for range 3 {
				number++
				line := fmt.Sprintf("line %d %s\n", number, strings.Repeat("y", 100*number%300))
				said.WriteString(line)
				if _, err := g.device.Write([]byte(line)); err != nil {
					t.Fatal(err)
				}
				frame := fmt.Sprintf("frame %d %s\n", number, strings.Repeat("x", 3000*number%9000))
				sent.WriteString(frame)
				limit := patience
				if queue == "none" {
					limit = time.Second // a writer that dies answers nobody
				}
				_, err := nc.Request("serial.gps.tx", []byte(frame), limit)
				if err != nil && queue == "file" {
					t.Fatal(err)
				}
				if err != nil {
					// It was in hand, and is finished by the successor, or it was never taken.
					sent.Truncate(sent.Len() - len(frame))
					takeAll(t, g, &heard, sent.Len(), len(frame))
					if heard.Len() > sent.Len() {
						sent.WriteString(frame)
					}
				}
			}
			answered = request()
			if queue == "file" {
				leased()
			}
			takeAll(t, g, &heard, sent.Len(), 0)
			if !bytes.Equal(heard.Bytes(), sent.Bytes()) {
				t.Fatalf("the device has got %d bytes that are not the %d sent; from %q on", heard.Len(), sent.Len(), firstDifference(heard.Bytes(), sent.Bytes()))
			}
			g.await(t, "all is counted", func(p portNumbers) bool {
				return p.Rx.Bytes == uint64(said.Len()) && p.Tx.Bytes == uint64(sent.Len()) && p.Tx.Queued == 0
			})
			return answered
		}
		if !exchange() {
			t.Fatalf("queue: %s: a request was not answered", queue)
		}
		for _, point := range points {
			if queue == "none" && strings.HasSuffix(point, "parked") {
				continue // nothing waits
			}
			file := filepath.Join(folder, point)
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			// A writer that dies answers nobody; a reader's death goes unnoticed.
			if answered := exchange(); !answered && strings.HasPrefix(point, "rx-") {
				t.Errorf("queue: %s: killed at %s: the request was not answered", queue, point)
			}
			if _, err := os.Stat(file); err == nil {
				t.Errorf("queue: %s: no worker came by %s", queue, point)
				_ = os.Remove(file)
			}
		}
		g.awaitHistory(t, queue, "serial.gps.rx", said.String(), "\n")
		g.awaitHistory(t, queue, "serial.gps.sent", sent.String(), "")
	}
}

// awaitHistory waits until the history has as much as it should on a subject, with an end that was taken off, and compares.
func (g *gateway) awaitHistory(t *testing.T, queue, subject, want, end string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(patience); len(got) < len(want) && time.Now().Before(deadline); pause() {
		got = ""
		for _, payload := range g.stored(t, subject) {
			got += payload + end
		}
	}
	if got != want {
		t.Errorf("queue: %s: %s has %d bytes of %d, and differs from %.60q on", queue, subject, len(got), len(want), firstDifference([]byte(got), []byte(want)))
	}
}

// takeAll reads what the device is sent until it has so many bytes in all, and then for a moment as many more as may come.
func takeAll(t *testing.T, g *gateway, into *bytes.Buffer, want, more int) {
	t.Helper()
	buffer := make([]byte, 64<<10)
	for limit := patience; into.Len() < want+more; {
		if into.Len() >= want {
			limit = 300 * time.Millisecond
		}
		if err := g.device.SetReadDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		n, err := g.device.Read(buffer)
		into.Write(buffer[:n])
		if err != nil && into.Len() >= want {
			return
		} else if err != nil {
			t.Fatalf("the device has got %d of %d bytes: %v", into.Len(), want, err)
		}
	}
}

// A reader is killed between two steps with the last that a device says: its successor brings it all, though nothing more comes.
func TestKilledWithTheLastLines(t *testing.T) {
	programs := buildCrashing(t)
	folder := t.TempDir()
	t.Setenv("SERIALVISOR_CRASH", folder)
	g := startGatewayFrom(t, programs)
	count := 0
	for _, point := range crashPoints(t) {
		if !strings.HasPrefix(point, "rx-") {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, point), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var lines bytes.Buffer
		for range 5 {
			fmt.Fprintf(&lines, "line %d\n", count)
			count++
		}
		if _, err := g.device.Write(lines.Bytes()); err != nil {
			t.Fatal(err)
		}
		g.await(t, "all lines are counted, with a reader killed at "+point, func(p portNumbers) bool { return p.Rx.Frames == uint64(count) })
		_ = os.Remove(filepath.Join(folder, point)) // some points need more than that to be come by
	}
	g.awaitLines(t, count)
}
