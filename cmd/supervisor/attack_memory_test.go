package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// mayGrow is by how much more memory an attack may have the supervisor use. Under the race detector it uses several times as much.
func mayGrow() int64 {
	if raceDetector {
		return 512 << 20
	}
	return 96 << 20
}

// fills is an attempt to fill the supervisor's memory.
func fills(who, what string, try func(*arena) error) attack {
	return attack{who, what, func(a *arena) error {
		before := a.memory()
		if err := try(a); err != nil {
			return err
		}
		if now := a.memory(); now > before+mayGrow() {
			return fmt.Errorf("the supervisor has %d MiB, and had %d", now>>20, before>>20)
		}
		return nil
	}}
}

// memory is how much the supervisor has of its own, in bytes.
func (a *arena) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.process.Pid))
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(text)
	if err != nil || m == nil {
		a.t.Fatalf("the memory of the supervisor is not known: %v", err)
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return n << 10
}

// memoryAttacks are those on memory, connections and patience.
func memoryAttacks() []attack {
	return []attack{
		fills("nobody", "opens 500 connections and says nothing", func(a *arena) error {
			var silent []net.Conn
			defer func() {
				for _, c := range silent {
					_ = c.Close()
				}
			}()
			for range 500 {
				c, err := net.DialTimeout("tcp", a.address("nats"), patience)
				if err != nil {
					return err
				}
				silent = append(silent, c)
			}
			if _, err := a.status(); err != nil {
				return fmt.Errorf("others are not let in: %w", err)
			}
			for _, c := range silent { // they are not kept
				_ = c.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.Copy(io.Discard, c); err != nil {
					return fmt.Errorf("one is kept: %w", err)
				}
			}
			return nil
		}),
		fills("nobody", "sends a line without an end", func(a *arena) error {
			for _, listener := range []string{"nats", "websocket", "mqtt", "metrics"} {
				c, err := net.DialTimeout("tcp", a.address(listener), patience)
				if err != nil {
					return err
				}
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
				_, _ = io.CopyN(c, zeros{}, 256<<20)
				_ = c.Close()
			}
			return nil
		}),
		fills("tap", "subscribes without end", func(a *arena) error {
			nc := a.connect(a.t, "tap", quietly...)
			for n := range 200_000 {
				if _, err := nc.Subscribe(fmt.Sprint("_INBOX.endless.", n), func(*nats.Msg) {}); err != nil {
					break // it was cut off
				}
			}
			_ = nc.FlushTimeout(patience)
			return nil
		}),
		fills("tap", "opens connections without end", func(a *arena) error {
			var open []*nats.Conn
			defer func() {
				for _, nc := range open {
					nc.Close()
				}
			}()
			env := a.env(a.t, "tap")
			for range 3000 {
				nc, err := nats.Connect(env["NATS_URL"], append(quietly, nats.UserInfo(env["NATS_USER"], env["NATS_PASSWORD"]))...)
				if err != nil {
					a.mustRun(a.t, nil, "env", "--role", "admin")
					admin := a.connect(a.t, "admin")
					defer admin.Close()
					return admin.FlushTimeout(patience)
				}
				open = append(open, nc)
			}
			return errors.New("it has 3000")
		}),
		fills("tap", "asks without end and does not read the answers", func(a *arena) error {
			env := a.env(a.t, "tap")
			c, err := net.DialTimeout("tcp", a.address("nats"), patience)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"user\":%q,\"pass\":%q,\"lang\":\"x\",\"headers\":true}\r\nSUB _INBOX.x.* 1\r\n", env["NATS_USER"], env["NATS_PASSWORD"])
			request := []byte("PUB serial.supervisor.status _INBOX.x.y 0\r\n\r\nPING\r\n")
			for range 200 { // until it is cut off
				if _, err := c.Write(bytes.Repeat(request, 500)); err != nil {
					return nil
				}
			}
			return nil
		}),
		fills("tap", "asks for messages without end", func(a *arena) error {
			nc := a.connect(a.t, "tap", quietly...)
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			if _, err := js.CreateConsumer(a.t.Context(), "SERIAL_HISTORY", jetstream.ConsumerConfig{Name: "hungry", FilterSubject: "serial.gps.expired", AckPolicy: jetstream.AckNonePolicy}); err != nil {
				return err
			}
			for n := range 50_000 {
				if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.SERIAL_HISTORY.hungry", fmt.Sprint("_INBOX.hungry.", n), []byte(`{"batch":1000000,"expires":3600000000000}`)); err != nil {
					return nil
				}
			}
			_ = nc.FlushTimeout(patience)
			nc.Close()
			return nil
		}),
		fills("robot", "sends a frame of 256 MiB", func(a *arena) error {
			c, err := net.DialTimeout("tcp", a.address("nats"), patience)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			_, _ = fmt.Fprintf(c, "CONNECT {\"user\":\"robot\",\"pass\":%q,\"lang\":\"x\"}\r\nPUB serial.gps.tx %d\r\n", password, 256<<20)
			_, _ = io.CopyN(c, zeros{}, 256<<20)
			return nil
		}),
		fills("robot", "asks a port for a lease without end", func(a *arena) error {
			nc := a.clients["robot"]
			for range 50_000 {
				if err := nc.PublishRequest("serial.gps.lease", nc.NewInbox(), []byte(`{"action": "show"}`)); err != nil {
					return err
				}
			}
			return nc.FlushTimeout(patience)
		}),
	}
}

// zeros is a source of them without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}

// mqttAttacks are those of clients of MQTT.
func mqttAttacks() []attack {
	publishes := func(user, topic string, args ...string) attack {
		return attack{user + " by MQTT", "publishes on `" + strings.Join(append([]string{topic}, args...), " ") + "`", func(a *arena) error {
			_, _ = a.mosquitto("pub", user, append([]string{"-t", topic, "-q", "1", "-m", "ATTACK"}, args...)...).Output()
			return nil
		}}
	}
	return []attack{
		{"nobody by MQTT", "comes in by a wrong password", func(a *arena) error {
			cmd := a.mosquitto("pub", "lab", "-t", "serial/gps/tx", "-m", "ATTACK", "-P", "guess")
			if err := cmd.Run(); err == nil {
				return errors.New("it was let in")
			}
			return nil
		}},
		publishes("lab", "serial/gps/tx"), publishes("lab", "serial/gps/rx", "--retain"), publishes("robot", "serial/gps/rx", "--retain"), publishes("robot", "serial/other/tx"),
		publishes("lab", "$JS/API/STREAM/PURGE/SERIAL_HISTORY"), publishes("lab", "$MQTT/sess/x"),
		{"lab by MQTT", "leaves a will for a device", func(a *arena) error {
			cmd := a.mosquitto("sub", "lab", "-t", "serial/gps/rx", "--will-topic", "serial/gps/tx", "--will-payload", "ATTACK")
			if err := cmd.Start(); err != nil {
				return err
			}
			a.after(20)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return nil
		}},
		{"lab by MQTT", "listens to another port and to everything", func(a *arena) error {
			for _, topic := range []string{"#", "serial/#", "serial/other/#", "$SYS/#", "+/+/+"} {
				out, _ := a.mosquitto("sub", "lab", "-t", topic, "-W", "1", "-F", "%t").Output()
				for line := range strings.Lines(string(out)) {
					if !strings.HasPrefix(line, "serial/gps/") {
						return fmt.Errorf("it hears %s", line)
					}
				}
			}
			return nil
		}},
		{"rival by MQTT", "takes over another's session by its id", func(a *arena) error {
			var heard bytes.Buffer
			victim := a.mosquitto("sub", "lab", "-i", "panel", "-c", "-q", "1", "-t", "serial/gps/rx")
			victim.Stdout = &heard
			if err := victim.Start(); err != nil {
				return err
			}
			a.after(20)
			out, _ := a.mosquitto("sub", "rival", "-i", "panel", "-c", "-q", "1", "-t", "serial/other/rx", "-W", "1").Output()
			a.after(20)
			_ = victim.Process.Kill()
			_ = victim.Wait()
			if len(out) > 0 {
				return fmt.Errorf("it hears %.100q", out)
			}
			lines := strings.Split(strings.TrimSpace(heard.String()), "\n")
			for i := 1; i < len(lines); i++ {
				before, after := lineNumber(lines[i-1]), lineNumber(lines[i])
				if after != before+1 {
					return fmt.Errorf("the other hears %q after %q", lines[i], lines[i-1])
				}
			}
			return nil
		}},
	}
}

func lineNumber(line string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(line, "line "))
	if err != nil {
		return -1
	}
	return n
}

// mosquitto is a stock client of a user.
func (a *arena) mosquitto(verb, user string, args ...string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(a.at["mqtt"])
	return exec.Command("mosquitto_"+verb, append([]string{"-h", host, "-p", port, "-u", user, "-P", password, "-V", "mqttv311"}, args...)...)
}
