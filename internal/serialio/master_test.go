package serialio

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Guards that the program which plays a device on a pseudo-terminal was said to take bytes from its users.
func TestMasterIsNoHolder(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = master.Close() }()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	index, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	path := "/dev/pts/" + strconv.Itoa(index)
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slave.Close() }()
	start := func(files ...*os.File) int {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe() // it waits for its end
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = files
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() })
		return cmd.Process.Pid
	}
	start(master, slave)
	if pid, program := OtherHolder(path, 0); pid != 0 {
		t.Errorf("%s (pid %d), which has the other end, is said to take bytes", program, pid)
	}
	reader := start(slave)
	if pid, _ := OtherHolder(path, 0); pid != reader {
		t.Errorf("pid %d is said to have it open too, want %d", pid, reader)
	}
}
