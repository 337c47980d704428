package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// A stream that could not be written once stores nothing any more, even when there is room again, and says so to nobody:
// its publishers have no answer. The server's health check knows. What helps is to shut JetStream down within the running
// server and start it again, which no client's connection notices.

const (
	// storeLook is how often the store is looked at.
	storeLook = time.Second
	// storeAnswer is how long the store may take over a look: it waits for a write that is under way.
	storeAnswer = 1500 * time.Millisecond
	// mendFirst and mendCap are how soon and how often a store that does not last is mended again.
	mendFirst = time.Second
	mendCap   = 2 * time.Minute
	// lasting is how long a store must have worked to count as mended.
	lasting = time.Minute
)

// store is what is known of the store.
type store struct {
	// asked is held for reading by who asks JetStream for anything, and for writing while it is started again.
	asked sync.RWMutex

	mu      sync.Mutex // guards all below
	state   ipc.StoreState
	problem string
}

// Store says how the store stands, and why it does not store.
func (b *Broker) Store() (state ipc.StoreState, problem string) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	return b.store.state, b.store.problem
}

// verdict is what a look at the store has found out.
type verdict struct {
	state   ipc.StoreState
	problem string
	remedy  string          // empty: the usual one
	mended  string          // why the store was started again; empty: it was not
	lost    map[string]Loss // with a history that was deleted, by port
}

// Watch looks after the running server until ctx ends. It notices within a second or two that the store has stopped
// storing, and starts it again when it can be written; then it calls mended, as those that wait for messages from a
// consumer must ask again, with what was lost of each port. noted is told after each look whether the store stores. It cuts
// off clients that do not keep up.
func (b *Broker) Watch(ctx context.Context, noted func(stores bool), mended func(lost map[string]Loss)) error {
	tick := time.NewTicker(storeLook)
	defer tick.Stop()
	laggards := time.NewTicker(laggardLook)
	defer laggards.Stop()
	attempts := &attempts{}
	looked := make(chan verdict, 1)
	var looking time.Time // since when; zero: not
	note := func(v verdict) {
		b.note(v)
		noted(v.state == ipc.StoreOK)
	}
	for {
		select {
		case <-ctx.Done():
			if !looking.IsZero() {
				select {
				case <-looked:
				case <-time.After(storeAnswer): // the disk hangs, and it with it
				}
			}
			return nil
		case <-laggards.C:
			b.cutLaggards()
		case <-tick.C:
			if looking.IsZero() {
				looking = time.Now()
				go func() { looked <- b.look(ctx, attempts) }() // waited for here
			} else if state, _ := b.Store(); state == ipc.StoreOK && time.Since(looking) > storeAnswer {
				note(verdict{state: ipc.StoreFailed, problem: fmt.Sprintf("the disk under %s does not answer", b.storeDir())})
			}
		case v := <-looked:
			looking = time.Time{}
			note(v)
			if v.mended != "" || len(v.lost) > 0 {
				mended(v.lost)
			}
		}
	}
}

// note keeps a verdict and logs a change.
func (b *Broker) note(v verdict) {
	b.store.mu.Lock()
	before := b.store.state
	remedy := cmp.Or(v.remedy, remedies[v.state])
	b.store.state, b.store.problem = v.state, v.problem
	if v.state != ipc.StoreOK {
		b.store.problem += "; " + remedy
	}
	b.store.mu.Unlock()
	switch {
	case v.state == before && v.mended != "":
		b.opts.Log.Warn("history and queues were started again and store", "folder", b.storeDir(), "error", v.mended)
	case v.state == before:
	case v.state == ipc.StoreOK:
		b.opts.Log.Info("history and queues store again", "folder", b.storeDir())
	default:
		b.opts.Log.Error("history and queues do not store; live traffic goes on", "store", string(v.state), "folder", b.storeDir(), "error", v.problem,
			"remedy", remedy)
	}
}

// remedies say what helps. Nothing has to be restarted.
var remedies = map[ipc.StoreState]string{
	ipc.StoreFull:   "make room there, and see that history.max_bytes fits; it goes on by itself",
	ipc.StoreFailed: "see to the disk; it goes on by itself",
}

// attempts are those to mend the store.
type attempts struct {
	gone bool      // files of the store were missing at the last look
	last time.Time // when it was mended, or that was tried
	wait time.Duration
}

// due says whether to try now.
func (a *attempts) due(now time.Time) bool { return now.Sub(a.last) >= a.wait }

// begin notes an attempt, from whose end on the next one waits the longer the more often it has failed lately.
func (a *attempts) begin(now time.Time) {
	if a.wait == 0 || now.Sub(a.last) > a.wait+lasting {
		a.wait = mendFirst
	} else {
		a.wait = min(2*a.wait, mendCap)
	}
	a.last = now
}

// look asks how the store is and mends it if that may help. A disk that hangs keeps it waiting.
func (b *Broker) look(ctx context.Context, a *attempts) verdict {
	if gone := b.gone(); len(gone) > 0 {
		return b.lookForGone(ctx, a, gone)
	}
	a.gone = false
	problem := b.storeProblem()
	if problem == "" {
		return verdict{state: ipc.StoreOK}
	}
	v := verdict{state: ipc.StoreFailed, problem: problem}
	if isFull(problem) {
		v.state = ipc.StoreFull
	}
	if err := b.room(); err != nil {
		v.problem = fmt.Sprintf("%s; %v", problem, err)
		return v
	}
	if now := time.Now(); a.due(now) {
		a.begin(now)
		if _, err := b.mend(ctx, nil); err != nil {
			v.problem = fmt.Sprintf("%s; start it again: %v", problem, err)
			return v
		}
		if b.storeProblem() == "" {
			return verdict{state: ipc.StoreOK, mended: problem}
		}
	}
	return v
}

// storeProblem is what the server says against its streams on files, or empty.
func (b *Broker) storeProblem() string {
	for _, s := range b.onFiles() {
		h := b.server.Healthz(&server.HealthzOptions{Account: string(s.account), Stream: s.name, Details: true})
		for _, e := range h.Errors {
			if e.Type == server.HealthzErrorConn {
				continue // it gives itself 1 ms to look at its listeners, and on a busy machine finds it over before it has
			}
			if _, problem, ok := strings.Cut(e.Error, "write error: "); ok {
				return problem
			}
			return e.Error
		}
	}
	return ""
}

// streamOn is a stream with its account.
type streamOn struct {
	account Account
	name    string
}

// onFiles lists the streams that need the disk.
func (b *Broker) onFiles() (list []streamOn) {
	if h := b.opts.History; !h.Off && !h.Memory {
		list = append(list, streamOn{Traffic, b.subjects.History()})
	}
	for _, s := range b.planned() {
		if !s.limits.Memory {
			list = append(list, streamOn{Control, s.name})
		}
	}
	return list
}

func isFull(problem string) bool {
	return strings.Contains(problem, unix.ENOSPC.Error()) || strings.Contains(problem, unix.EDQUOT.Error())
}

func (b *Broker) storeDir() string { return filepath.Join(b.opts.StateDir, "store") }

const (
	// roomNeeded is how much must be free for the store to be started again: it would else be full again at once.
	roomNeeded = 4 << 20
	// roomTried is how much of it is tried, as a quota shows only then.
	roomTried = 1 << 20
)

// littleRoom is an error like unix.ENOSPC, before the disk is quite full.
type littleRoom string

func (e littleRoom) Error() string { return string(e) }

// Is implements what package errors looks for.
func (e littleRoom) Is(target error) bool { return target == unix.ENOSPC }

// orFull adds to an error that the disk is full, if it is: the server does not say why it cannot create a stream.
func (b *Broker) orFull(err error) error {
	if room := b.room(); errors.Is(room, unix.ENOSPC) || errors.Is(room, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", err, room)
	}
	return err
}

// room returns an error if the store's folder has no room or cannot be written.
func (b *Broker) room() error {
	dir := b.storeDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look for room in %s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < roomNeeded {
		return littleRoom(fmt.Sprintf("%d KiB are free of %d", free>>10, fs.Blocks*uint64(fs.Bsize)>>10))
	}
	f, err := os.CreateTemp(dir, "room-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(make([]byte, roomTried))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
