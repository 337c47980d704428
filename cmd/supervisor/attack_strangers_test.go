package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// enters is an attempt to be let in.
func enters(what string, options func(*arena) []nats.Option) attack {
	return attack{"nobody", what, func(a *arena) error {
		nc, err := nats.Connect(a.url, append(options(a), quietly...)...)
		if err == nil {
			nc.Close()
			return errors.New("it was let in")
		}
		return nil
	}}
}

func says(name, word string) func(*arena) []nats.Option {
	return func(*arena) []nats.Option { return []nats.Option{nats.UserInfo(name, word)} }
}

// strangersAttacks are those of somebody who has no credentials.
func strangersAttacks() []attack {
	list := []attack{
		enters("comes in without a name", func(*arena) []nats.Option { return nil }),
		enters("comes in by a wrong password", says("lab", "guess")),
		enters("comes in by an empty password", says("lab", "")),
		enters("comes in by a name alone that has no password", says("keyed", "")),
		enters("comes in as the supervisor", says("supervisor-control", "")),
		enters("comes in as a reader", says("gps/reader", "")),
		enters("comes in as a worker", says("worker/w", "")),
		enters("comes in as the system", says("$SYS", "")),
		enters("comes in by the hash of a password", func(a *arena) []nats.Option {
			text, _ := os.ReadFile(filepath.Join(a.dir, "c.yaml"))
			_, rest, _ := strings.Cut(string(text), "password: ")
			hash, _, _ := strings.Cut(rest, ",")
			return []nats.Option{nats.UserInfo("lab", hash)}
		}),
		enters("comes in by a public key with a signature of its own", func(a *arena) []nats.Option {
			return []nats.Option{nats.Nkey(a.key, func([]byte) ([]byte, error) { return bytes.Repeat([]byte{1}, 64), nil })}
		}),
		enters("comes in by a token", func(*arena) []nats.Option { return []nats.Option{nats.Token("correct horse battery")} }),
		{"nobody", "comes in by the password of a worker that has ended", func(a *arena) error {
			env := a.workerEnv()
			if err := os.Remove(filepath.Join(a.dir, "env")); err != nil {
				return err
			}
			a.mustRun(a.t, nil, "restart", "w")
			a.workerEnv()
			nc, err := nats.Connect(env["NATS_URL"], append(quietly, nats.UserInfo(env["NATS_USER"], env["NATS_PASSWORD"]))...)
			if err == nil {
				nc.Close()
				return errors.New("it was let in")
			}
			env = a.workerEnv()
			a.clients["worker"], err = nats.Connect(env["NATS_URL"], append(quietly, nats.UserInfo(env["NATS_USER"], env["NATS_PASSWORD"]))...)
			a.whole.Cleanup(a.clients["worker"].Close)
			return err
		}},
		{"nobody", "guesses passwords, and keeps out who has the right one", func(a *arena) error {
			var guessers sync.WaitGroup
			for n := range 40 {
				guessers.Go(func() {
					for range 5 {
						if nc, err := nats.Connect(a.url, append(quietly, nats.UserInfo("lab", fmt.Sprint("guess", n)))...); err == nil {
							a.spoil("a guess was right")
							nc.Close()
						}
					}
				})
			}
			defer guessers.Wait()
			nc, err := nats.Connect(a.url, append(quietly, nats.UserInfo("lab", password))...)
			if err != nil {
				return fmt.Errorf("the right one is kept out: %w", err)
			}
			nc.Close()
			return nil
		}},
		{"nobody", "joins as a leaf node, a router or a gateway", func(a *arena) error {
			for _, hello := range []string{
				`CONNECT {"server_id":"x","name":"x","user":"tap","pass":"x","headers":true}` + "\r\nLS+ serial.gps.tx\r\nPING\r\n", "RS+ TRAFFIC serial.gps.tx\r\nPING\r\n", "A+ TRAFFIC\r\nPING\r\n",
			} {
				if answer := a.raw("nats", hello); strings.Contains(answer, "PONG") {
					return fmt.Errorf("it is answered %q", answer)
				}
			}
			return nil
		}},
		{"nobody", "opens a WebSocket from a page of another origin", func(a *arena) error {
			if status := upgradeFrom(a.t, a.at["websocket"], "https://evil.example"); status != http.StatusForbidden {
				return fmt.Errorf("it gets status %d", status)
			}
			return nil
		}},
		{"nobody", "asks the metrics' server for other files, and by other methods", func(a *arena) error {
			for _, path := range []string{"/../../etc/passwd", "/metrics/../../state/admin.env", "/debug/pprof/", "/debug/vars", "/%2e%2e/%2e%2e/etc/passwd"} {
				for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
					if answer := a.raw("metrics", method+" "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); strings.Contains(answer, " 200 ") {
						return fmt.Errorf("%s %s is answered %.200q", method, path, answer)
					}
				}
			}
			return nil
		}},
		{"nobody", "finds a secret in metrics, status or log", func(a *arena) error {
			where := a.raw("metrics", "GET /metrics HTTP/1.0\r\n\r\n") + string(a.mustRun(a.t, nil, "status", "--json")) + a.errors.String() + a.output.String()
			for _, env := range []map[string]string{a.workerEnv(), a.env(a.t, "tap"), a.env(a.t, "send"), a.env(a.t, "admin")} {
				if strings.Contains(where, env["NATS_PASSWORD"]) {
					return fmt.Errorf("the password of %s is there", env["NATS_USER"])
				}
			}
			return nil
		}},
		{"nobody", "reads the state folder as another user of the machine", func(a *arena) error {
			return filepath.WalkDir(filepath.Join(a.dir, "state"), func(path string, entry fs.DirEntry, err error) error {
				info, ierr := entry.Info()
				if err != nil || ierr != nil {
					return nil // it has come and gone
				}
				if mode := info.Mode().Perm(); mode&0o077 != 0 && info.Mode()&fs.ModeSocket == 0 && path == filepath.Join(a.dir, "state") || strings.HasSuffix(path, ".env") && mode&0o077 != 0 {
					return fmt.Errorf("%s has mode %o", path, mode)
				}
				return nil
			})
		}},
		{"nobody", "reads a worker's environment as another user of the machine", func(a *arena) error {
			s, err := a.status()
			if err != nil {
				return err
			}
			for _, w := range s.Workers {
				cmd := exec.Command("cat", fmt.Sprintf("/proc/%d/environ", w.PID))
				if os.Geteuid() != 0 {
					return nil // there is no other user to be; the kernel has it tested
				}
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
				if out, err := cmd.Output(); err == nil || len(out) > 0 {
					return fmt.Errorf("that of %s is %.100q", w.Name, out)
				}
			}
			return nil
		}},
	}
	for _, listener := range []string{"nats", "websocket", "mqtt", "metrics"} {
		list = append(list, attack{"nobody", "sends nonsense to the " + listener + " listener", func(a *arena) error { a.fuzz(listener); return nil }})
	}
	return list
}

// address is that of a listener.
func (a *arena) address(listener string) string {
	if listener == "nats" {
		u, _ := url.Parse(a.url)
		return u.Host
	}
	return a.at[listener]
}

// raw says something to a listener and returns what it answers until it closes or is silent.
func (a *arena) raw(listener, text string) string {
	conn, err := net.DialTimeout("tcp", a.address(listener), patience)
	if err != nil {
		a.spoil("the %s listener is not there: %v", listener, err)
		return ""
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second)) // of a silent one nothing more is to come
	_, _ = io.WriteString(conn, text)
	answer, _ := io.ReadAll(bufio.NewReader(conn))
	return string(answer)
}

// fuzz sends what a listener does not expect: random bytes, and right beginnings with mistakes in them.
func (a *arena) fuzz(listener string) {
	good := map[string][]string{
		"nats": {
			"CONNECT {\"verbose\":true,\"user\":\"tap\",\"pass\":\"x\"}\r\nPING\r\n", "PUB serial.gps.tx 6\r\nATTACK\r\n", "HPUB serial.gps.tx 12 18\r\nNATS/1.0\r\n\r\nATTACK\r\n", "SUB > 1\r\n", "UNSUB 1\r\n",
			"PUB serial.gps.tx 999999999999999999999\r\n", "HPUB a 99 1\r\n", "CONNECT {" + strings.Repeat("[", 10000) + "\r\n", strings.Repeat("A", 100000),
		},
		"websocket": {"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", "GET /" + strings.Repeat("a", 100000)},
		"mqtt":      {"\x10\x1a\x00\x04MQTT\x04\xc2\x00\x3c\x00\x00\x00\x03lab\x00\x05guess", "\x30\x0f\x00\rserial/gps/txA", "\x10\xff\xff\xff\x7f", "\x82\xff\xff\xff\xff\xff\xff"},
		"metrics":   {"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /metrics HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", 50000)},
	}[listener]
	random := rand.New(rand.NewPCG(1, 2)) // the same each time
	var all sync.WaitGroup
	limit := make(chan struct{}, 20)
	for n := range 200 {
		text := []byte(good[n%len(good)])
		switch n % 4 {
		case 1: // some bytes are others
			for range 1 + len(text)/50 {
				text[random.IntN(len(text))] = byte(random.Uint32())
			}
		case 2: // it ends too soon
			text = text[:random.IntN(len(text))]
		case 3:
			text = make([]byte, random.IntN(4096))
			for i := range text {
				text[i] = byte(random.Uint32())
			}
		}
		limit <- struct{}{}
		all.Go(func() {
			defer func() { <-limit }()
			conn, err := net.DialTimeout("tcp", a.address(listener), patience)
			if err != nil {
				a.spoil("the %s listener is not there: %v", listener, err)
				return
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond)) // it may wait for more
			_, _ = conn.Write(text)
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	all.Wait()
}
