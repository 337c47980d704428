package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// end is the other end of one of the guest's serial ports: what a device would be.
type end struct {
	conn net.Conn

	mu      sync.Mutex // guards all below
	heard   []string
	echo    bool
	held    bool
	changed *sync.Cond // held

	sending sync.Mutex // held during a write; guards away
	away    bool       // there is no device: nothing is sent

	talking chan struct{} // closed to end a say; nil: nothing is said
	talked  chan int      // gets the number of the last line
}

func newEnd(conn net.Conn) *end {
	e := &end{conn: conn}
	e.changed = sync.NewCond(&e.mu)
	go e.listen() // ends when the connection is closed, or with the process
	return e
}

// listen reads lines, unless it is held.
func (e *end) listen() {
	buffer := make([]byte, 4096)
	var rest []byte
	for {
		e.mu.Lock()
		for e.held {
			e.changed.Wait()
		}
		e.mu.Unlock()
		n, err := e.conn.Read(buffer)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		rest = append(rest, buffer[:n]...)
		for {
			line, after, found := bytes.Cut(rest, []byte("\n"))
			if !found {
				break
			}
			rest = after
			e.mu.Lock()
			e.heard = append(e.heard, string(line))
			echo := e.echo
			e.mu.Unlock()
			if echo {
				_ = e.write(string(line)+"\n", lineLimit)
			}
		}
	}
}

// hold stops or resumes reading.
func (e *end) hold(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held = on
	deadline := time.Time{}
	if on {
		deadline = time.Now() // ends the read that waits
	}
	_ = e.conn.SetReadDeadline(deadline)
	e.changed.Broadcast()
}

func (e *end) setEcho(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.echo = on
}

// take returns what was heard, and forgets it if asked to.
func (e *end) take(forget bool) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard := slices.Clone(e.heard)
	if forget {
		e.heard = nil
	}
	return heard
}

// lineLimit is how long a line may take that need not arrive, as when there is no device; allLimit those that must.
const (
	lineLimit = time.Second
	allLimit  = 30 * time.Second
)

var errAway = errors.New("there is no device")

func (e *end) write(text string, limit time.Duration) error {
	e.sending.Lock()
	defer e.sending.Unlock()
	if e.away {
		return errAway
	}
	_ = e.conn.SetWriteDeadline(time.Now().Add(limit))
	_, err := e.conn.Write([]byte(text))
	return err
}

// setAway stops sending, and waits until QEMU has read all that was sent; or begins again. What arrives at an adapter
// that QEMU has taken away and not yet freed is its end, by a null pointer (7.2, usb_wakeup).
func (e *end) setAway(away bool) error {
	e.sending.Lock()
	defer e.sending.Unlock()
	e.away = away
	if !away {
		return nil
	}
	socket, err := e.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(allLimit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		unread := 0
		var queryErr error
		err := socket.Control(func(fd uintptr) { unread, queryErr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err = errors.Join(err, queryErr); err != nil || unread == 0 {
			return err
		}
	}
	return errors.New("the adapter does not take what was sent")
}

// say writes numbered lines: up to the last one, all at once, or in the background until quiet if there is none.
func (e *end) say(prefix string, last int, pause time.Duration) error {
	if last > 0 {
		var all strings.Builder
		for i := range last {
			all.WriteString(numbered(prefix, i+1))
		}
		return e.write(all.String(), allLimit)
	}
	stop, said := make(chan struct{}), make(chan int, 1)
	e.talking, e.talked = stop, said
	go func() { // until quiet
		for i := 1; ; i++ {
			_ = e.write(numbered(prefix, i), lineLimit)
			select {
			case <-stop:
				said <- i
				return
			case <-time.After(pause):
			}
		}
	}()
	return nil
}

func (e *end) quiet() int {
	if e.talking == nil {
		return 0
	}
	close(e.talking)
	e.talking = nil
	return <-e.talked
}

func numbered(prefix string, i int) string { return fmt.Sprintf("%s-%06d\n", prefix, i) }
