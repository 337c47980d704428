package ipc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// When the supervisor is upgraded its readers and writers are, too, each in its own process: a worker finishes what it has in
// hand, says Waiting on FDSuccessor, and becomes the program that the new supervisor names there.

// Waiting is what a worker says on FDSuccessor when it has nothing in hand any more.
const Waiting = "WAITING=1\n"

// Successor is the program that goes on in a worker's process.
type Successor struct {
	Path string
	Env  []string
}

// successorMost is how long a message may be. The descriptors in it are few.
const (
	successorMost = 192 << 10
	successorFDs  = 32
)

// Send names the successor to the worker that waits at the other end of a socket, with its descriptors from 0 on.
func (s Successor) Send(socket int, files []uintptr) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if len(text) > successorMost || len(files) > successorFDs {
		return fmt.Errorf("what is to be told to a worker is too long: %d bytes, %d descriptors", len(text), len(files))
	}
	var fds []int
	for _, fd := range files {
		fds = append(fds, int(fd))
	}
	for {
		if err = unix.Sendmsg(socket, text, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL); err != unix.EINTR {
			return err
		}
	}
}

// ReceiveSuccessor waits for what Send sends, with descriptors that are the caller's and closed on exec. If there will be none
// the error is io.EOF.
func ReceiveSuccessor(socket int) (s Successor, files []int, err error) {
	text, rights := make([]byte, successorMost), make([]byte, unix.CmsgSpace(4*successorFDs))
	var n, rn, flags int
	for {
		n, rn, flags, _, err = unix.Recvmsg(socket, text, rights, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case err != nil:
		return s, nil, os.NewSyscallError("recvmsg", err)
	case n == 0:
		return s, nil, io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return s, nil, errors.New("a part is missing of what names the successor")
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		return s, nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return s, nil, err
		}
		files = append(files, fds...)
	}
	return s, files, json.Unmarshal(text[:n], &s)
}
