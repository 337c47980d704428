package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

// killFigures say how long traffic stands still when a worker is killed, in ms.
type killFigures struct {
	reader50, reader99 float64
	writer50, writer99 float64
}

const (
	workerKills = 200
	// apart is how long a new worker is left alone.
	apart = 150 * time.Millisecond
)

func benchKills() error {
	var f killFigures
	fmt.Fprintln(os.Stderr, "serialvisor's workers are killed")
	err := with(gateways[file], false, func(r *run, device *simulator.Pty, in <-chan receipt) error {
		took, err := receivedAgain(r, device, in)
		f.reader50, f.reader99 = percentile(took, 50)/1000, percentile(took, 99)/1000
		return err
	})
	if err != nil {
		return err
	}
	err = with(gateways[file], false, func(r *run, device *simulator.Pty, _ <-chan receipt) error {
		took, err := sentAgain(r, device)
		f.writer50, f.writer99 = percentile(took, 50)/1000, percentile(took, 99)/1000
		return err
	})
	if err != nil {
		return err
	}
	gatesHead()
	fmt.Printf("| kill -9 of the reader to the next line at a subscriber, p50 of %d | | %.2f ms | |\n", workerKills, f.reader50)
	atMost("the same, p99", f.reader99, 100, " ms")
	fmt.Printf("| kill -9 of the writer to the next frame at the device, p50 of %d | | %.2f ms | |\n", workerKills, f.writer50)
	atMost("the same, p99", f.writer99, 100, " ms")
	fmt.Println()
	return nil
}

// receivedAgain kills the reader while the device says 2,000 lines a second, and measures from each kill until a line that
// was said after it has come through.
func receivedAgain(r *run, device *simulator.Pty, in <-chan receipt) ([]time.Duration, error) {
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() { // ends with stop
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				failed <- nil
				return
			case <-tick.C:
				for range 2 {
					if _, err := device.Write(lineAt(monotonic(), lineBytes)); err != nil {
						failed <- err
						return
					}
				}
			}
		}
	}()
	took, err := killAndWait(r, 0, func(killed int64) (int64, error) {
		for late := time.After(10 * time.Second); ; {
			select {
			case got := <-in:
				if numberIn(got.line) > killed {
					return got.at, nil
				}
			case <-late:
				return 0, errors.New("no line comes any more")
			}
		}
	})
	close(stop)
	return took, errors.Join(err, <-failed)
}

// sentAgain kills the writer while 1,000 frames a second are queued, and measures from each kill until a frame that was
// queued after it is with the device.
func sentAgain(r *run, device *simulator.Pty) ([]time.Duration, error) {
	nc, err := r.connect(ipc.RoleSend)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	var newest, at atomic.Int64 // when the newest frame that the device has was queued, and when it came
	heard := make(chan struct{})
	go func() { // ends when the device is closed
		defer close(heard)
		for in := bufio.NewReader(device); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			at.Store(monotonic())
			newest.Store(numberIn(line))
		}
	}()
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() { // ends with stop
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				failed <- nil
				return
			case <-tick.C:
				if err := nc.Publish(ipc.Subjects{Root: ipc.DefaultRoot}.Tx("dev"), lineAt(monotonic(), lineBytes)); err != nil {
					failed <- err
					return
				}
			}
		}
	}()
	took, err := killAndWait(r, 1, func(killed int64) (int64, error) {
		for late := time.Now().Add(10 * time.Second); newest.Load() <= killed; time.Sleep(100 * time.Microsecond) {
			if time.Now().After(late) {
				return 0, errors.New("no frame comes any more")
			}
		}
		return at.Load(), nil
	})
	close(stop)
	err = errors.Join(err, <-failed, device.Close())
	<-heard
	return took, err
}

// killAndWait kills a worker time and again. next returns when something came through that began after a time.
func killAndWait(r *run, worker int, next func(killed int64) (int64, error)) (took []time.Duration, err error) {
	for range workerKills {
		time.Sleep(apart)
		s, err := r.status()
		if err != nil {
			return nil, err
		}
		if s.Workers[worker].State != ipc.WorkerRunning {
			return nil, fmt.Errorf("%s is %s", s.Workers[worker].Name, s.Workers[worker].State)
		}
		killed := monotonic()
		if err := unix.Kill(s.Workers[worker].PID, unix.SIGKILL); err != nil {
			return nil, err
		}
		at, err := next(killed)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Duration(at-killed))
	}
	return took, nil
}
