package serialio_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/serialio"
)

func control(t *testing.T, p *serialio.Port) *serialio.Control {
	t.Helper()
	c, err := p.Control()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Release)
	return c
}

func TestSetLine(t *testing.T) {
	d := device(t)
	p := open(t, d.Path())
	c := control(t, p)
	s := settings.Line
	s.Baud, s.FlowControl = 31250, serialio.FlowXONXOFF // no rate that has a name
	if _, err := c.SetLine(s); err != nil {
		t.Fatal(err)
	}
	termios, err := unix.IoctlGetTermios(p.Keeper(), unix.TCGETS2)
	if err != nil {
		t.Fatal(err)
	}
	if termios.Ospeed != 31250 || termios.Ispeed != 31250 || termios.Iflag&unix.IXON == 0 || termios.Cc[unix.VSTART] != 0x11 {
		t.Errorf("speeds %d and %d, iflag %#x", termios.Ispeed, termios.Ospeed, termios.Iflag)
	}
	s.StopBits = serialio.StopOneAndHalf
	if _, err := c.SetLine(s); err == nil {
		t.Error("1.5 stop bits behind 8 data bits were taken")
	}
}

// A pseudo-terminal has no modem lines and no counters, which is said and is no fault.
func TestWhatAPtyLacks(t *testing.T) {
	c := control(t, open(t, device(t).Path()))
	if _, ok, err := c.Modem(); ok || err != nil {
		t.Errorf("Modem: %t, %v", ok, err)
	}
	if e, err := c.Errors(); e != (serialio.LineErrors{}) || err != nil {
		t.Errorf("Errors: %+v, %v", e, err)
	}
	if err := c.SetDTR(serialio.Off); !errors.Is(err, serialio.ErrUnsupported) {
		t.Errorf("SetDTR: %v", err)
	}
}

func TestFlush(t *testing.T) {
	d := device(t)
	c := control(t, open(t, d.Path()))
	waiting := func() int {
		unread, _, err := c.Waiting()
		if err != nil {
			t.Fatal(err)
		}
		return unread
	}
	if _, err := d.Write([]byte("stale")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); waiting() != 5; {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes wait, want 5", waiting())
		}
	}
	if err := c.Flush(false, true); err != nil || waiting() != 5 {
		t.Errorf("flush of what goes out: %v, %d bytes wait", err, waiting())
	}
	if err := c.Flush(true, false); err != nil || waiting() != 0 {
		t.Errorf("flush of what came in: %v, %d bytes wait", err, waiting())
	}
}

// A hold keeps working, or says that the device is gone, whatever becomes of the port meanwhile.
func TestControlOutlivesPort(t *testing.T) {
	d := device(t)
	p := open(t, d.Path())
	c := control(t, p)
	p.Close()
	if _, err := p.Control(); !errors.Is(err, serialio.ErrHangup) {
		t.Errorf("a hold on a closed port: %v", err)
	}
	if _, err := c.SetLine(settings.Line); err != nil {
		t.Errorf("a hold from before: %v", err)
	}
	_ = d.Close()
	if _, err := c.SetLine(settings.Line); !errors.Is(err, serialio.ErrHangup) {
		t.Errorf("a hold on a device that is gone: %v", err)
	}
}

func TestBreakEndsWithItsContext(t *testing.T) {
	c := control(t, open(t, device(t).Path()))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Break(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Break: %v", err)
	}
}
