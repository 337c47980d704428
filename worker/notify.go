package worker

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// notifier is the socket on which the supervisor hears how the worker is, as in sd_notify(3): a path, or with a leading @ a name
// in the abstract namespace. Empty: nobody wants to know.
type notifier string

// fromNotifyEnviron reads NOTIFY_SOCKET, and WATCHDOG_USEC as sd_watchdog_enabled(3) does.
func fromNotifyEnviron(getenv func(string) string, pid int) (n notifier, interval time.Duration, err error) {
	n = notifier(getenv(ipc.EnvNotify))
	text := getenv(ipc.EnvWatchdog)
	if owner := getenv(ipc.EnvWatchdogPID); text == "" || owner != "" && owner != strconv.Itoa(pid) {
		return n, 0, nil
	}
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 {
		return n, 0, fmt.Errorf("worker: WATCHDOG_USEC is %q: it should be a number of microseconds", text)
	}
	return n, time.Duration(usec) * time.Microsecond, nil
}

func (n notifier) say(what string) error {
	if n == "" {
		return nil
	}
	// A new socket each time: these are a few a second at most, and the supervisor may have been replaced.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: string(n), Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(what))
		_ = conn.Close()
	}
	if err != nil {
		return fmt.Errorf("worker: tell the supervisor %q: %w", what, err)
	}
	return nil
}

// Ready tells the supervisor that the worker is at work, where its config says notify: true. What has it in its after is
// started then. Run calls it, unless told otherwise.
func (w *Worker) Ready() error { return w.notify.say("READY=1") }

// Stopping tells the supervisor that the worker is about to end. Run calls it.
func (w *Worker) Stopping() error { return w.notify.say("STOPPING=1") }

// Status says in a line what the worker is doing, for `supervisor status`.
func (w *Worker) Status(text string) error {
	return w.notify.say("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Alive tells the supervisor that the worker is not hung, where its config sets a watchdog. Without the word for that long it
// is killed and started again. Call it from the loop that does the work, and never from a goroutine or timer made for it, which
// would go on when the work hangs. It can be called as often as you like: it speaks at most four times in the watchdog's time.
//
// A loop over frames need not call it. It says so itself whenever it asks for the next frame, and while it waits for one. It
// says nothing while the body of another such loop has been at work for longer than the watchdog's time.
func (w *Worker) Alive() error {
	if !w.dog.due(time.Now()) {
		return nil
	}
	return w.notify.say("WATCHDOG=1")
}

// watchdog says when the supervisor is to hear of us.
type watchdog struct {
	interval time.Duration // 0: it does not want to

	mu    sync.Mutex // guards all below
	last  time.Time
	loops map[*loop]struct{}
}

// loop is one over frames.
type loop struct{ busy time.Time } // since when its body works; zero: it waits for a frame

// every is how often somebody who waits should say so: at half of the time, as sd_watchdog_enabled(3) recommends.
func (d *watchdog) every() time.Duration { return d.interval / 2 }

// due takes the turn if it is time to speak, and nothing hangs.
func (d *watchdog) due(now time.Time) bool {
	if d.interval == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.last) < d.interval/4 {
		return false
	}
	for l := range d.loops {
		if !l.busy.IsZero() && now.Sub(l.busy) > d.interval {
			return false
		}
	}
	d.last = now
	return true
}

// set notes since when a loop's body works, zero for one that waits.
func (d *watchdog) set(l *loop, busy time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loops == nil {
		d.loops = map[*loop]struct{}{}
	}
	d.loops[l] = struct{}{}
	l.busy = busy
}

func (d *watchdog) leave(l *loop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.loops, l)
}
