package serialio

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// serialStruct is struct serial_struct of the kernel's include/uapi/linux/serial.h, of TIOCGSERIAL and TIOCSSERIAL.
type serialStruct struct {
	kind        int32    // type
	_           [3]int32 // line, port, irq
	flags       int32
	_           [2]int32 // xmit_fifo_size, custom_divisor
	baudBase    int32
	closeDelay  uint16
	_           [2]byte // io_type, reserved
	_           int32   // hub6
	closingWait uint16  // in 10 ms: how long the last close waits for output to drain
	_           uint16  // closing_wait2
	_           uintptr // iomem_base
	_           uint16  // iomem_reg_shift
	_           uint32  // port_high
	_           uintptr // iomap_base
}

const (
	asyncLowLatency = 1 << 13 // ASYNC_LOW_LATENCY, include/uapi/linux/tty_flags.h

	// closingWait bounds the last close in the kernel, where it is 30 s by default. Close discards undrained output, but a
	// supervisor that is killed leaves the close to the kernel, and the device would be busy for as long.
	closingWait = 100
)

// tuneDriver sets what struct serial_struct has. A driver without it is left as it is, and closingWait without
// CAP_SYS_ADMIN too: neither changes a byte. It returns whether the low latency mode is on.
func tuneDriver(fd int, low bool) (bool, error) {
	var s serialStruct
	if err := ioctl(fd, unix.TIOCGSERIAL, unsafe.Pointer(&s)); err != nil {
		return false, nil
	}
	before := s
	s.flags &^= asyncLowLatency
	if low {
		s.flags |= asyncLowLatency
	}
	s.closingWait = closingWait
	err := ioctl(fd, unix.TIOCSSERIAL, unsafe.Pointer(&s))
	if errors.Is(err, unix.EPERM) && s.flags != before.flags {
		s.closingWait = before.closingWait
		err = ioctl(fd, unix.TIOCSSERIAL, unsafe.Pointer(&s))
	}
	if err != nil && !unsupported(err) && !errors.Is(err, unix.EPERM) {
		return false, fmt.Errorf("set low_latency: %w", err)
	}
	if err := ioctl(fd, unix.TIOCGSERIAL, unsafe.Pointer(&s)); err != nil {
		return false, nil
	}
	return s.flags&asyncLowLatency != 0, nil
}

// divided is what a UART's clock gives for a rate, as the 8250 driver sets the nearest divisor and reports the rate that was
// asked for: a 16550A with the usual crystal makes 28800 of 31250. For other drivers it is the rate.
func divided(fd, baud int) int {
	var st unix.Stat_t
	var s serialStruct
	if unix.Fstat(fd, &st) != nil || unix.Major(st.Rdev) != ttyMajor || ioctl(fd, unix.TIOCGSERIAL, unsafe.Pointer(&s)) != nil {
		return baud
	}
	if !plainDivisor[s.kind] || s.baudBase <= 0 || baud <= 0 || baud > int(s.baudBase) {
		return baud
	}
	base := int(s.baudBase)
	return base / max((base+baud/2)/baud, 1)
}

// ttyMajor is the major number of ttyS*, see the kernel's Documentation/admin-guide/devices.txt.
const ttyMajor = 4

// plainDivisor lists the chips, PORT_8250 to PORT_16654 of include/uapi/linux/serial_core.h, whose rate is their clock divided
// by a whole number; PORT_16C950 has a prescaler besides.
var plainDivisor = map[int32]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: true, 8: true, 9: true, 11: true}

// rs485Struct is struct serial_rs485 of include/uapi/linux/serial.h, see the kernel's Documentation/driver-api/serial/serial-rs485.rst.
type rs485Struct struct {
	flags       uint32
	delayBefore uint32 // ms
	delayAfter  uint32 // ms
	_           [5]uint32
}

// Flags of rs485Struct.
const (
	rs485Enabled      = 1 << 0
	rs485RTSOnSend    = 1 << 1
	rs485RTSAfterSend = 1 << 2
)

// setRS485 switches the mode on and reads it back: a transceiver that is not switched would be deaf or babble. It is
// switched off only where a driver has the mode.
func setRS485(fd int, s RS485) error {
	if isPty(fd) {
		return nil // it has no transceiver
	}
	var want, have rs485Struct
	err := ioctl(fd, unix.TIOCGRS485, unsafe.Pointer(&have))
	if !s.Enabled && (err != nil || have.flags&rs485Enabled == 0) {
		return nil
	}
	if s.Enabled {
		want = rs485Struct{flags: rs485Enabled | rs485RTSAfterSend, delayBefore: uint32(s.DelayBeforeMS), delayAfter: uint32(s.DelayAfterMS)}
		if s.RTSOnSend {
			want.flags = rs485Enabled | rs485RTSOnSend
		}
	}
	set := want
	if err == nil {
		err = ioctl(fd, unix.TIOCSRS485, unsafe.Pointer(&set))
	}
	if err == nil {
		err = ioctl(fd, unix.TIOCGRS485, unsafe.Pointer(&have))
	}
	const relevant = rs485Enabled | rs485RTSOnSend | rs485RTSAfterSend
	switch {
	case unsupported(err):
		return withHint(errors.New("the driver has no RS-485 mode"), "leave rs485 out if the adapter switches by itself, as most USB ones do")
	case err != nil:
		return fmt.Errorf("set rs485: %w", err)
	case have.flags&relevant != want.flags || have.delayBefore != want.delayBefore || have.delayAfter != want.delayAfter:
		return fmt.Errorf("asked for rs485 with flags %#x and delays of %d and %d ms, the driver set flags %#x and %d and %d ms",
			want.flags, want.delayBefore, want.delayAfter, have.flags&relevant, have.delayBefore, have.delayAfter)
	}
	return nil
}

// unsupported says whether a driver has answered that it does not know a request.
func unsupported(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
