package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/scripts/usage"
)

var outputFor = flag.Duration("output", 10*time.Second, "how long a worker prints, for -only output")

const (
	outputRate  = 100e6 // bytes a second that a worker prints, if it can
	outputBlock = 64 << 10
	outputLine  = 100 // bytes, with its end
	// outputCalm is how long the port receives lines alone, before and after.
	outputCalm = 5 * time.Second
	// outputLeft is how long the log may take to have all that was printed.
	outputLeft = 5 * time.Second
)

// What the worker prints: lines, or one without an end.
const printLines, printEndless = "lines", "endless"

// benchOutput measures what a worker does to the supervisor that prints without end, in lines and in a single one.
func benchOutput() error {
	return inRounds("a worker prints lines, and then without an end", func(t *table) error {
		if err := measureOutput(t, printLines); err != nil {
			return err
		}
		return measureOutput(t, printEndless)
	})
}

func measureOutput(t *table, mode string) error {
	r, err := newRun()
	if err != nil {
		return err
	}
	defer r.stop()
	log := &workerLog{}
	r.log = log
	devices, err := openCrowd(1)
	if err != nil {
		return err
	}
	defer devices.close()
	worker, err := r.printer(mode, devices)
	if err != nil {
		return err
	}
	defer func() { _ = worker.Close() }()
	tap, err := r.tap(1)
	if err != nil {
		return err
	}
	s, err := r.status()
	if err != nil {
		return err
	}

	type spoken struct {
		lines int64
		err   error
	}
	speaking := make(chan spoken, 1)
	go func() { // ends after that time
		lines, err := devices.speak(2*outputCalm + *outputFor)
		speaking <- spoken{lines, err}
	}()
	quiet := sampleMemory(s.PID, time.After(outputCalm), nil)
	printed := make(chan int64, 1)
	before, begun := ranSoFar(s), time.Now()
	go func() { // ends when the worker has printed all, or is dead
		bytes, _ := askPrinter(worker)
		printed <- bytes
	}()
	var bytes int64
	loud := sampleMemory(s.PID, time.After(outputLeft+2**outputFor), func() bool {
		select {
		case bytes = <-printed:
			return true
		default:
			return false
		}
	})
	took := time.Since(begun).Seconds()
	cores := ranSoFar(s).since(before, took)
	loud = max(loud, sampleMemory(s.PID, time.After(outputCalm), nil))
	said := <-speaking
	if said.err != nil {
		return said.err
	}
	if bytes == 0 {
		return fmt.Errorf("the worker that prints %s ended before it had printed", mode)
	}
	return noteOutput(t, mode, log, outputFigures{tap, said.lines, bytes, took, cores, quiet, loud})
}

type outputFigures struct {
	tap         *crowdTap
	said        int64   // lines by the port's device
	bytes       int64   // printed by the worker
	took        float64 // seconds in which it did
	cores       ran
	quiet, loud float64 // MiB of the supervisor, at most
}

func noteOutput(t *table, mode string, log *workerLog, f outputFigures) error {
	what := map[string]string{printLines: "lines of 100 bytes: ", printEndless: "no newline: "}[mode]
	t.note(what+"printed", float64(f.bytes)/1e6/f.took, " MB/s")
	t.atMost(what+"PSS of the supervisor, most while and after less most before", f.loud-f.quiet, 16, " MiB")
	t.note(what+"PSS of the supervisor before", f.quiet, " MiB")
	t.note(what+"CPU of the supervisor meanwhile", f.cores.supervisor, " cores")
	lost, _ := f.tap.missing(f.said)
	t.never(fmt.Sprintf("%s%d lines of a port: not with a tap", what, f.said), lost)
	unstored, again, err := f.tap.stored("rx", 1, f.said)
	if err != nil {
		return err
	}
	t.never(what+"not in the history", unstored)
	t.never(what+"twice there", again)
	t.note(what+"one way, p99", percentile(f.tap.took, 99)/1000, " ms")

	_ = until(func() error { // the log is written aside
		if log.unaccounted(mode, f.bytes) > 0 {
			return errors.New("not all is in the log")
		}
		return nil
	})
	t.never(what+"printed and neither in the log nor said there to be left out", log.unaccounted(mode, f.bytes))
	log.mu.Lock()
	defer log.mu.Unlock()
	if mode == printEndless {
		t.note(what+"in the log", float64(log.bytes), " bytes")
		t.note(what+"said there to be left out", float64(log.leftOut), " bytes")
		return nil
	}
	t.note(what+"in the log", float64(log.lines), "")
	t.note(what+"said there to be left out", float64(log.missed), "")
	t.note(what+"warnings that say so", float64(log.warnings), "")
	return nil
}

// sampleMemory is the most that a process has in memory until over or until is true, in MiB, looked at every 100 ms.
func sampleMemory(pid int, over <-chan time.Time, until func() bool) (pss float64) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until == nil || !until() {
		_, now := usage.Memory(pid)
		pss = max(pss, now)
		select {
		case <-over:
			return pss
		case <-tick.C:
		}
	}
	return pss
}

// printer starts a gateway with a worker that prints when it is asked to, by the connection that is returned.
func (r *run) printer(mode string, devices crowd) (net.Conn, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(r.dir, "printer")
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	worker := fmt.Sprintf("workers:\n  loud:\n    command: [%s, -worker, %s, -output, %s]\n    env: {PRINTER: %s}\n    restart: never\n", self, mode, outputFor, path)
	nc, err := serve(r, devices.ports()+roomForAll+worker)
	if err != nil {
		return nil, err
	}
	nc.Close()
	return listener.Accept()
}

// askPrinter has the worker print, and returns how many bytes it has.
func askPrinter(worker net.Conn) (printed int64, err error) {
	if _, err := worker.Write([]byte("go")); err != nil {
		return 0, err
	}
	text := make([]byte, 40)
	n, err := worker.Read(text)
	if err != nil {
		return 0, err
	}
	return numberIn(string(text[:n])), nil
}

// runPrinter is that worker. It ends when it has printed, so that the log has what it had printed last.
func runPrinter(mode string) error {
	conn, err := net.Dial("unix", os.Getenv("PRINTER"))
	if err != nil {
		return err
	}
	if _, err := conn.Read(make([]byte, 2)); err != nil {
		return err
	}
	block := bytes.Repeat([]byte("x"), outputBlock)
	if mode == printLines {
		block = bytes.Repeat(append(bytes.Repeat([]byte("x"), outputLine-1), '\n'), outputBlock/outputLine)
	}
	printed := 0
	for begun := time.Now(); time.Since(begun) < *outputFor; time.Sleep(time.Millisecond) {
		for float64(printed) < time.Since(begun).Seconds()*outputRate && time.Since(begun) < *outputFor {
			n, err := os.Stdout.Write(block)
			if printed += n; err != nil {
				return err
			}
		}
	}
	_, err = fmt.Fprintf(conn, "%d ", printed)
	return err
}

// unaccounted is how many lines, or bytes of the only one, of so many bytes are neither in the log nor said to be left out.
func (l *workerLog) unaccounted(mode string, printed int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if mode == printEndless {
		return printed - l.bytes - l.leftOut
	}
	return printed/outputLine - l.lines - l.missed - l.lost
}

// workerLog reads the supervisor's log for what it has of the worker that prints, as long as the supervisor lives.
type workerLog struct {
	mu       sync.Mutex // guards all below
	rest     []byte
	lines    int64 // printed by the worker
	bytes    int64 // of those
	warnings int64 // that lines were left out
	missed   int64 // how many they were
	leftOut  int64 // bytes of lines that were cut short
	lost     int64 // lines of the log itself that were left out
}

var (
	ofPrinter = regexp.MustCompile(`msg=(x+) worker=loud(?: left_out=(\d+))?`)
	ofMissed  = regexp.MustCompile(`msg="lines were left out: .*" worker=loud lines=(\d+)`)
	ofLost    = regexp.MustCompile(`^supervisor: (\d+) lines of the log are missing`)
)

// Write implements io.Writer, for the supervisor's stderr.
func (l *workerLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			l.rest = append([]byte(nil), l.rest...)
			return len(p), nil
		}
		l.rest = rest
		l.take(line)
	}
}

func (l *workerLog) take(line []byte) {
	number := func(text []byte) int64 {
		n, _ := strconv.ParseInt(string(text), 10, 64)
		return n
	}
	if m := ofPrinter.FindSubmatch(line); m != nil {
		l.lines, l.bytes, l.leftOut = l.lines+1, l.bytes+int64(len(m[1])), l.leftOut+number(m[2])
	} else if m := ofMissed.FindSubmatch(line); m != nil {
		l.warnings, l.missed = l.warnings+1, l.missed+number(m[1])
	} else if m := ofLost.FindSubmatch(line); m != nil {
		l.lost += number(m[1])
	}
}
