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
		switch _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err {
		case nil:
			open[name] = fd
		case unix.EBADF: // there is no way back for who is about to be replaced
		default:
			return "", fmt.Errorf("pass descriptor %s on: %w", name, err)
		}
	}
	text, err := json.Marshal(open)
	if err != nil {
		return "", err
	}
	list, err := unix.MemfdCreate("serialvisor passed on", 0)
	if err != nil {
		return "", fmt.Errorf("pass descriptors on: %w", err)
	}
	if _, err := unix.Pwrite(list, text, 0); err != nil {
		return "", fmt.Errorf("pass descriptors on: %w", err)
	}
	return passedOn + "=" + strconv.Itoa(list), nil
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
	list := os.NewFile(uintptr(fd), "descriptors that were passed on")
	if list == nil {
		return fmt.Errorf("%s=%s is no descriptor", passedOn, number)
	}
	defer func() { _ = list.Close() }()
	var fds map[string]int
	if err := json.NewDecoder(list).Decode(&fds); err != nil {
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
