package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// The commands of a script that play devices, on pseudo-terminals:
//
//	device NAME [gps|echo]   plugs a device in at $WORK/NAME; without a kind, the script speaks for it
//	unplug NAME              takes it out
//	say NAME TEXT            has it say TEXT, with Go's escapes such as \n
//	saycopy NAME FILE N      has it say what FILE holds, in chunks of N bytes
//	hear NAME TEXT           waits until it was sent TEXT, behind what was heard before

type devicesKey struct{}

type pluggedIn map[string]*testDevice

// testDevice is a device on a pseudo-terminal, and all that it was sent.
type testDevice struct {
	*simulator.Pty

	mu    sync.Mutex // guards all below
	heard []byte
	read  int // how much of heard was asked for
}

func devicesOf(ts *testscript.TestScript) pluggedIn { return ts.Value(devicesKey{}).(pluggedIn) }

func (d pluggedIn) named(ts *testscript.TestScript, name string) *testDevice {
	dev, ok := d[name]
	if !ok {
		ts.Fatalf("there is no device %s", name)
	}
	return dev
}

func device(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: device NAME [gps|echo]")
	}
	pty, err := simulator.Open()
	ts.Check(err)
	ts.Check(pty.Link(ts.MkAbs(args[0])))
	d := &testDevice{Pty: pty}
	devicesOf(ts)[args[0]] = d
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	ts.Defer(func() {
		cancel()
		_ = pty.Close()
		<-done
	})
	play := d.listen
	if len(args) == 2 {
		switch args[1] {
		case "gps":
			play = simulator.GPS{Pty: pty}.Run
		case "echo":
			play = simulator.Echo{Pty: pty}.Run
		default:
			ts.Fatalf("unknown kind of device %s", args[1])
		}
	}
	go func() {
		defer close(done)
		_ = play(ctx) // ends with an error when it is unplugged
	}()
}

// listen collects what the device is sent until it is unplugged.
func (d *testDevice) listen(context.Context) error {
	buffer := make([]byte, 4096)
	for {
		n, err := d.Read(buffer)
		d.mu.Lock()
		d.heard = append(d.heard, buffer[:n]...)
		d.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func unplug(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: unplug NAME")
	}
	ts.Check(os.Remove(ts.MkAbs(args[0])))
	ts.Check(devicesOf(ts).named(ts, args[0]).Close())
}

func say(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: say NAME TEXT")
	}
	_, err := devicesOf(ts).named(ts, args[0]).Write([]byte(unescape(ts, args[1])))
	ts.Check(err)
}

func sayCopy(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: saycopy NAME FILE N")
	}
	var size int
	_, err := fmt.Sscan(args[2], &size)
	ts.Check(err)
	d := devicesOf(ts).named(ts, args[0])
	for data := []byte(ts.ReadFile(args[1])); len(data) > 0; {
		n := min(size, len(data))
		_, err := d.Write(data[:n])
		ts.Check(err)
		data = data[n:]
	}
}

func hear(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: hear NAME TEXT")
	}
	d := devicesOf(ts).named(ts, args[0])
	want := []byte(unescape(ts, args[1]))
	until(ts, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		i := bytes.Index(d.heard[d.read:], want)
		if i >= 0 {
			d.read += i + len(want)
		}
		return i >= 0
	}, func() string {
		d.mu.Lock()
		defer d.mu.Unlock()
		return fmt.Sprintf("device %s was not sent %q but %q", args[0], want, d.heard[d.read:])
	})
}

// unescape reads Go's escapes.
func unescape(ts *testscript.TestScript, text string) string {
	s, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	ts.Check(err)
	return s
}
