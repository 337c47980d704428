package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/scripts/hwtest/order"
)

// machine is a running QEMU. Sockets to it are pairs made here and inherited: there is nothing to connect to or to
// wait for.
type machine struct {
	cmd     *exec.Cmd
	exited  chan struct{} // closed when QEMU has ended; result is set then
	result  error
	orders  net.Conn
	ends    map[string]net.Conn // of serial ports, by order.UART and so on
	qmp     *qmp
	trace   *trace
	plugged bool // the USB adapter is there
	tracing bool
}

const (
	adapter = "adapter" // id of the USB adapter
	// smallBuffer is how much a port's other end takes unread, in bytes as the kernel counts: little, so that a test
	// of output that is not taken need not send much.
	smallBuffer = 8 << 10
)

// boot starts QEMU. What the guest prints goes to console.
func boot(console io.Writer) (*machine, error) {
	m := &machine{exited: make(chan struct{}), ends: map[string]net.Conn{}, trace: newTrace(), plugged: true}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	// chardev makes a socket pair and returns the option for QEMU's end.
	chardev := func(id string, buffer int) (net.Conn, string, error) {
		conn, file, err := socketPair(buffer)
		if err != nil {
			return nil, "", fmt.Errorf("socket for %s: %w", id, err)
		}
		theirs = append(theirs, file)
		return conn, fmt.Sprintf("socket,id=%s,fd=%d", id, 2+len(theirs)), nil
	}
	var options []string
	conns := map[string]net.Conn{}
	for id, buffer := range map[string]int{order.UART: smallBuffer, order.FTDI: 0, "orders": 0, "monitor": 0} {
		conn, option, err := chardev(id, buffer)
		if err != nil {
			return nil, err
		}
		conns[id] = conn
		options = append(options, "-chardev", option)
	}
	m.orders, m.ends[order.UART], m.ends[order.FTDI] = conns["orders"], conns[order.UART], conns[order.FTDI]

	m.cmd = exec.Command("qemu-system-x86_64", append(options,
		"-accel", "tcg,thread=multi", "-m", "1024", "-smp", "2", "-no-reboot", "-nodefaults", "-display", "none", "-vga", "none",
		"-kernel", *kernel, "-initrd", *initrd, "-append", "console=ttyS0 quiet panic=1 hwtest.only="+*only,
		"-chardev", "stdio,id=console", "-serial", "chardev:console",
		"-serial", "chardev:"+order.UART,
		"-device", "qemu-xhci,id=usb", "-device", "usb-serial,bus=usb.0,always-plugged=on,chardev="+order.FTDI+",id="+adapter,
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=orders,name="+order.Port,
		"-mon", "chardev=monitor,mode=control", "-msg", "timestamp=on")...)
	m.cmd.ExtraFiles = theirs
	m.cmd.Stdout, m.cmd.Stderr = console, &lines{each: func(line string) {
		if !m.trace.note(line) {
			fmt.Fprintln(console, line)
		}
	}}
	m.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	go func() { // ends with QEMU, which stop sees to
		m.result = m.cmd.Wait()
		close(m.exited)
	}()
	var err error
	if m.qmp, err = newQMP(conns["monitor"]); err != nil {
		m.stop()
		return nil, err
	}
	return m, nil
}

// stop ends QEMU and closes our ends.
func (m *machine) stop() {
	_ = m.cmd.Process.Kill()
	<-m.exited
	_ = m.orders.Close()
	for _, c := range m.ends {
		_ = c.Close()
	}
}

func (m *machine) unplug() error {
	_, err := m.qmp.do("device_del", map[string]any{"id": adapter}, "DEVICE_DELETED")
	m.plugged = m.plugged && err != nil
	return err
}

// plug puts the adapter back, when QEMU has freed the one that was taken away.
func (m *machine) plug() error {
	var err error
	for deadline := time.Now().Add(allLimit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		_, err = m.qmp.do("device_add", map[string]any{
			"driver": "usb-serial", "bus": "usb.0", "always-plugged": true, "chardev": order.FTDI, "id": adapter,
		}, "")
		if err == nil || !strings.Contains(err.Error(), "in use") {
			break
		}
	}
	m.plugged = m.plugged || err == nil
	return err
}

// sendBreak lets the guest's chip see a break.
func (m *machine) sendBreak(port string) error {
	_, err := m.qmp.do("chardev-send-break", map[string]any{"id": port}, "")
	return err
}

// startTrace turns QEMU's log of what is done to the chips on.
func (m *machine) startTrace() error {
	m.tracing = true
	return m.setTrace(true)
}

// endTrace turns it off and returns what it has.
func (m *machine) endTrace() ([]string, error) {
	if !m.tracing {
		return nil, nil
	}
	m.tracing = false
	if err := m.setTrace(false); err != nil {
		return nil, err
	}
	return m.trace.take(m.qmp.last), nil
}

func (m *machine) setTrace(on bool) error {
	for _, name := range traced {
		if _, err := m.qmp.do("trace-event-set-state", map[string]any{"name": name, "enable": on}, ""); err != nil {
			return err
		}
	}
	return nil
}

// socketPair makes a connected pair: one end for us and one to inherit. buffer is how much of what the other end
// sends is kept unread, 0 for the kernel's default.
func socketPair(buffer int) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer func() { _ = ours.Close() }() // FileConn takes a copy
	if buffer > 0 {
		// What waits in a unix socket counts against its sender, see unix(7).
		if err := unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, buffer); err != nil {
			return nil, nil, err
		}
	}
	conn, err := net.FileConn(ours)
	return conn, theirs, err
}
