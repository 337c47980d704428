package serialio_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/serialio"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// borrow is a worker's end of a port, without a process of its own.
func borrow(t *testing.T, p *serialio.Port) *serialio.Device {
	t.Helper()
	var d *serialio.Device
	err := p.LendReader(func(fd uintptr) error {
		own, err := unix.Dup(int(fd))
		if err != nil {
			return err
		}
		d, err = serialio.Borrow(uintptr(own))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestReadAndIdle(t *testing.T) {
	pty := device(t)
	d := borrow(t, open(t, pty.Path()))
	buffer := make([]byte, 100)
	begun := time.Now()
	if n, err := d.Read(buffer, 50*time.Millisecond); n != 0 || !errors.Is(err, serialio.ErrIdle) {
		t.Errorf("Read of a silent device = %d, %v, want ErrIdle", n, err)
	}
	if took := time.Since(begun); took < 50*time.Millisecond {
		t.Errorf("Read gave up after %s, want 50 ms", took)
	}
	if _, err := pty.Write([]byte("hello\x00\xff")); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Read(buffer, 0); err != nil || string(buffer[:n]) != "hello\x00\xff" {
		t.Errorf("Read = %q, %v", buffer[:n], err)
	}
}

func TestInterrupt(t *testing.T) {
	d := borrow(t, open(t, device(t).Path()))
	ended := make(chan error, 1)
	go func() {
		_, err := d.Read(make([]byte, 10), 0)
		ended <- err
	}()
	d.Interrupt() // before or while it waits
	select {
	case err := <-ended:
		if !errors.Is(err, serialio.ErrInterrupted) {
			t.Errorf("Read = %v, want ErrInterrupted", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Read did not end")
	}
	if _, err := d.Read(make([]byte, 10), time.Hour); !errors.Is(err, serialio.ErrInterrupted) {
		t.Errorf("the next Read = %v, want ErrInterrupted", err)
	}
}

// A device that does not read holds a write up until it does; nothing is lost or doubled.
func TestWriteWaits(t *testing.T) {
	pty := device(t)
	d := borrow(t, open(t, pty.Path()))
	data := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := d.Write(data)
		done <- result{n, err}
	}()
	_ = pty.SetReadDeadline(time.Now().Add(30 * time.Second))
	got := make([]byte, len(data))
	if _, err := io.ReadFull(pty, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("the device received something else")
	}
	if r := <-done; r.n != len(data) || r.err != nil {
		t.Errorf("Write = %d, %v, want %d", r.n, r.err, len(data))
	}
	// And one that never reads, until the worker has to stop.
	go func() {
		n, err := d.Write(data)
		done <- result{n, err}
	}()
	d.Interrupt()
	select {
	case r := <-done:
		if r.n == len(data) || !errors.Is(r.err, serialio.ErrInterrupted) {
			t.Errorf("Write = %d, %v, want less than all and ErrInterrupted", r.n, r.err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Write did not end")
	}
}

func TestHangup(t *testing.T) {
	pty, err := simulator.Open()
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, pty.Path())
	d := borrow(t, p)
	w, err := serialio.NewHangupWatcher()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	gone, err := w.Watch(p.Keeper())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pty.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	if n, err := d.Read(buffer, 0); err != nil || string(buffer[:n]) != "last words" {
		t.Fatalf("Read = %q, %v", buffer[:n], err)
	}
	select {
	case <-gone:
		t.Error("data was taken for a hang-up")
	default:
	}
	_ = pty.Close()
	select {
	case <-gone:
	case <-time.After(30 * time.Second):
		t.Fatal("a hang-up was not noticed")
	}
	if _, err := d.Read(buffer, 0); !errors.Is(err, serialio.ErrHangup) {
		t.Errorf("Read = %v, want ErrHangup", err)
	}
	if _, err := d.Write(buffer); !errors.Is(err, serialio.ErrHangup) {
		t.Errorf("Write = %v, want ErrHangup", err)
	}
	w.Forget(p.Keeper())
}

// The time on the line is that of the settings in force, which may change while the port is open.
func TestLineTime(t *testing.T) {
	p := open(t, device(t).Path())
	d := borrow(t, p)
	if took, err := d.LineTime(96); err != nil || took != 100*time.Millisecond {
		t.Errorf("96 bytes at 9600 8N1 take %s, %v; want 100 ms", took, err)
	}
	s := settings.Line
	s.Baud, s.StopBits = 1200, serialio.StopTwo
	if _, err := control(t, p).SetLine(s); err != nil {
		t.Fatal(err)
	}
	if took, err := d.LineTime(1200); err != nil || took != 11*time.Second {
		t.Errorf("1200 bytes at 1200 8N2 take %s, %v; want 11 s", took, err)
	}
}
