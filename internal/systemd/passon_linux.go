package systemd

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// passedOn names the descriptor of the list that PassOn makes.
const passedOn = "SERIALVISOR_PASSED_ON"

// PassOn has descriptors stay open in the program by which this process is about to be replaced, see execve(2). What it
// returns belongs into that program's environment, where FromEnviron finds it. A descriptor that is closed is not passed on.
func PassOn(fds map[string]int) (variable string, err error) {
	open := map[string]int{}
	for name, fd := range fds {
		switch err := keepOnExec(fd); err {
		case nil:
			open[name] = fd
		case unix.EBADF: // there is no way back for who is about to be replaced
		default:
			return "", fmt.Errorf("pass descriptor %s on: %w", name, err)
		}
	}
	list, err := Memo("descriptors that are passed on", open)
	if err == nil {
		err = keepOnExec(list)
	}
	return passedOn + "=" + strconv.Itoa(list), err
}

func keepOnExec(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	return err
}

// Memo writes something as JSON into a file that is in memory only, whose descriptor can be passed on. It is closed on exec till
// then.
func Memo(name string, content any) (fd int, err error) {
	text, err := json.Marshal(content)
	if err != nil {
		return -1, err
	}
	if fd, err = unix.MemfdCreate("serialvisor "+name, unix.MFD_CLOEXEC); err != nil {
		return -1, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := unix.Pwrite(fd, text, 0); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", name, err)
	}
	return fd, nil
}

// ReadMemo reads what Memo has written, and closes the descriptor.
func ReadMemo(fd int, content any) error {
	file := os.NewFile(uintptr(fd), "memo")
	if file == nil {
		return fmt.Errorf("%d is no descriptor", fd)
	}
	defer func() { _ = file.Close() }()
	return json.NewDecoder(file).Decode(content)
}

// addPassedOn adds what PassOn has passed on.
func addPassedOn(passed map[string][]int) error {
	number := os.Getenv(passedOn)
	if number == "" {
		return nil
	}
	fd, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("%s=%s is no descriptor", passedOn, number)
	}
	var fds map[string]int
	if err := ReadMemo(fd, &fds); err != nil {
		return fmt.Errorf("descriptors that were passed on: %w", err)
	}
	for name, fd := range fds {
		unix.CloseOnExec(fd)
		CloseAll(passed[name]) // the service manager has passed the same
		passed[name] = []int{fd}
	}
	return nil
}

// CloseAll closes descriptors that were passed and that nobody wants.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
