package process

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Notices is a socket on which one worker's family says how it is, as in sd_notify(3). Any daemon that was written for systemd
// speaks it.
type Notices struct {
	conn *net.UnixConn
	// Address is for NOTIFY_SOCKET.
	Address string
}

// Notice is what was said in one go.
type Notice struct {
	Ready     bool
	Alive     bool // WATCHDOG=1
	Trigger   bool // WATCHDOG=trigger: it wants to be taken for hung
	Status    string
	HasStatus bool
	Extend    time.Duration // EXTEND_TIMEOUT_USEC: it needs so much longer from now on; 0: nothing was said
}

// ListenNotices makes a socket that is not in the file system, and so leaves nothing behind.
func ListenNotices() (*Notices, error) {
	address := "@serialvisor/" + rand.Text()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("socket for notices: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); cerr != nil {
			err = cerr
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("socket for notices: %w", err)
	}
	return &Notices{conn, address}, nil
}

// AdoptNotices goes on with a socket that was passed on. It owns the descriptor.
func AdoptNotices(fd int, address string) (*Notices, error) {
	file := os.NewFile(uintptr(fd), address)
	defer func() { _ = file.Close() }() // FilePacketConn has its own
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, fmt.Errorf("socket for notices: %w", err)
	}
	return &Notices{conn.(*net.UnixConn), address}, nil
}

// Close ends Receive.
func (n *Notices) Close() { _ = n.conn.Close() }

// Detach ends Receive and returns a descriptor, which is the caller's, for another program: what is said from then on waits there.
func (n *Notices) Detach() (fd int, err error) {
	if err := n.conn.SetReadDeadline(time.Now()); err != nil {
		return -1, err
	}
	return Duplicate(n.conn)
}

// Receive passes on what is said, until Close. Others than our own user, and root, are not heard: everybody on the machine can
// find the socket.
func (n *Notices) Receive(pass func(Notice)) {
	text := make([]byte, 4096)
	// There is no room for descriptors: the kernel closes those that are sent along, which is what a sender of BARRIER=1 waits
	// for.
	credentials := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		k, c, flags, _, err := n.conn.ReadMsgUnix(text, credentials)
		if err != nil {
			return
		}
		if flags&unix.MSG_TRUNC == 0 && trusted(credentials[:c]) {
			pass(parseNotice(string(text[:k])))
		}
	}
}

func trusted(control []byte) bool {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if sender, err := unix.ParseUnixCredentials(&m); err == nil {
			return sender.Uid == uint32(os.Getuid()) || sender.Uid == 0
		}
	}
	return false
}

// parseNotice leaves out what nothing here depends on, MAINPID among it: the worker is the process that was started.
func parseNotice(text string) (n Notice) {
	for line := range strings.SplitSeq(text, "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "READY":
			n.Ready = n.Ready || value == "1"
		case "WATCHDOG":
			n.Alive = n.Alive || value == "1"
			n.Trigger = n.Trigger || value == "trigger"
		case "STATUS":
			n.Status, n.HasStatus = value, true
		case "EXTEND_TIMEOUT_USEC":
			if us, err := strconv.ParseUint(value, 10, 40); err == nil {
				n.Extend = time.Duration(us) * time.Microsecond
			}
		}
	}
	return n
}
