package config

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// TestExample guards that the file which users copy is valid and names every key.
func TestExample(t *testing.T) {
	c, err := Load("../../serialvisor.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ports) != 4 || c.Name != "bench-1" || c.StateDir != "/var/lib/serialvisor" {
		t.Errorf("read as %+v", c)
	}
	display := c.Ports[2]
	if display.Name != "display" || display.Queue != defaultPort("").Queue {
		t.Errorf("port display read as %+v", display)
	}
	if got := c.Ports[3]; got.Framing.Type != frame.GapType || !reflect.DeepEqual(got.TxFraming, got.Framing) {
		t.Errorf("framings of plc read as %+v and %+v", got.Framing, got.TxFraming)
	}
	if got := c.Ports[0].Framing; !reflect.DeepEqual(got, frame.Spec{Type: frame.Line, Delimiter: []byte("\r\n"), MaxBytes: 64 << 10}) {
		t.Errorf("framing of gps read as %+v", got)
	}
	text, err := os.ReadFile("../../serialvisor.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"name", "subject_root", "state_dir", "log", "level", "format", "broker", "listen", "history", "storage", "max_age",
		"max_bytes", "sync", "metrics", "insecure", "tls", "cert", "key", "ca", "verify", "websocket", "origins", "mqtt", "leaf", "urls", "credentials", "stream", "domain", "users", "password", "nkey", "ports", "device", "baud", "data_bits", "parity", "stop_bits", "framing", "type", "delimiter", "idle_flush", "usb", "vid", "pid", "serial", "interface", "flow_control", "dtr", "rts", "low_latency", "settle", "rs485", "enabled", "rts_on_send",
		"delay_before_ms", "delay_after_ms",
		"forward_to", "queue", "max_messages", "tx_framing", "gap", "bytes", "size", "byte_order", "offset", "counts_itself", "extra",
		"workers", "command", "directory", "env", "role", "restart", "stop_timeout", "after", "notify", "start_timeout", "watchdog", "stdio"} {
		if !strings.Contains(string(text), key+":") {
			t.Errorf("the example does not show %s", key)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := Parse("f", []byte("ports: {gps: {device: /dev/ttyUSB0}}"))
	if err != nil {
		t.Fatal(err)
	}
	want := Port{
		Name: "gps", Device: "/dev/ttyUSB0",
		Settings: serialio.Settings{
			Line: serialio.LineSettings{Baud: 115200, DataBits: 8, Parity: "none", StopBits: "1", FlowControl: "none"},
			DTR:  serialio.On, RTS: serialio.On, LowLatency: true, RS485: serialio.RS485{RTSOnSend: true},
		},
		Framing: frame.Default(), TxFraming: frame.Default(), Queue: Queue{Storage: File, MaxMessages: 10000},
	}
	if !reflect.DeepEqual(c.Ports, []Port{want}) {
		t.Errorf("ports are %+v, want %+v", c.Ports, want)
	}
	history := History{Storage: File, MaxAge: 24 * time.Hour, MaxBytes: 256 << 20, Sync: 2 * time.Second}
	if c.History != history || c.SubjectRoot != "serial" || c.Broker.Listen != "127.0.0.1:4222" || c.Log != (Log{slog.LevelInfo, "text"}) || c.Name == "" {
		t.Errorf("defaults are %+v", c)
	}
}

func TestValues(t *testing.T) {
	c, err := Parse("dir/f", []byte(`
state_dir: state
log: {level: warn, format: json}
history: {storage: memory, max_age: 90m, max_bytes: 2 GiB, sync: always}
ports:
  a:
    device: "/dev/a"
    framing: {type: raw, max_bytes: 4096, idle_flush: 20ms}
    queue: {storage: memory, max_messages: 5, max_age: 1h}
    forward_to: b
    parity: none
  b: {device: /dev/b, queue: none, stop_bits: 2, data_bits: 7, parity: odd, forward_to: [a, b]}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.StateDir != "dir/state" || c.Log != (Log{slog.LevelWarn, "json"}) {
		t.Errorf("read as %+v", c)
	}
	if want := (History{Storage: Memory, MaxAge: 90 * time.Minute, MaxBytes: 2 << 30, Sync: 2 * time.Second, SyncAlways: true}); c.History != want {
		t.Errorf("history is %+v, want %+v", c.History, want)
	}
	a, b := c.Ports[0], c.Ports[1]
	if want := (frame.Spec{Type: frame.Raw, MaxBytes: 4096, IdleFlush: 20 * time.Millisecond}); !reflect.DeepEqual(a.Framing, want) {
		t.Errorf("framing is %+v, want %+v", a.Framing, want)
	}
	if want := (Queue{Memory, 5, time.Hour}); a.Queue != want || !reflect.DeepEqual(a.ForwardTo, []string{"b"}) {
		t.Errorf("port a is %+v", a)
	}
	if want := (serialio.LineSettings{Baud: 115200, DataBits: 7, Parity: "odd", StopBits: "2", FlowControl: "none"}); b.Settings.Line != want || b.Queue.Storage != None || !reflect.DeepEqual(b.ForwardTo, []string{"a", "b"}) {
		t.Errorf("port b is %+v", b)
	}
}

// TestMetricsAddress has addresses that may be listened on.
func TestMetricsAddress(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "metrics: {listen: 127.0.0.1:9464}": "127.0.0.1:9464", "metrics: {listen: localhost:0}": "localhost:0",
		`metrics: {listen: "[::1]:9464"}`: "[::1]:9464", "metrics: {listen: 0.0.0.0:9464, insecure: true}": "0.0.0.0:9464",
	} {
		c, err := Parse("f", []byte(text+"\nports: {a: {device: x}}"))
		if err != nil || c.Metrics.Listen != want {
			t.Errorf("%q: %+v, %v; want %q", text, c, err, want)
		}
	}
}

// forwarding is a config with a port that forwards to n others.
func forwarding(n int) string {
	var names, ports []string
	for i := range n {
		names = append(names, fmt.Sprint("p", i))
		ports = append(ports, fmt.Sprintf("p%d: {device: /dev/p%d}", i, i))
	}
	return "ports: {gps: {device: /dev/x, forward_to: [" + strings.Join(names, ", ") + "]}, " + strings.Join(ports, ", ") + "}"
}

// indented is n mappings, each inside the one before.
func indented(n int) string {
	var text strings.Builder
	for i := range n {
		text.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return text.String()
}

// TestWideIsNotDeep guards that what stands side by side does not count as nested.
func TestWideIsNotDeep(t *testing.T) {
	var text strings.Builder
	text.WriteString("ports:\n")
	for i := range 200 {
		fmt.Fprintf(&text, "  a%d: {device: /dev/a%d, framing: {type: line, delimiter: \"\\n\"}, forward_to: [a0, a1, a2, a3]}\n", i, i)
		fmt.Fprintf(&text, "  b%d:\n    device: /dev/b%d\n    framing:\n      type: line\n    forward_to:\n    - a0\n    - a1\n", i, i)
	}
	c, err := Parse("f", []byte(text.String()))
	if err != nil || len(c.Ports) != 400 {
		t.Errorf("400 ports are read as %+v, %v", c, err)
	}
}

// TestProblems has a file for each mistake, and what is said of it.
// Public keys of users.
const (
	aKey = "UC7VWGOX4EGOZHZQH6QS5DFMS7YVEJXD4C4GCNFFNJ2YQAWXVWRQRFES"
	bKey = "UD3WRMUFOO3JEL6FRS5QGGBFLCE3VK54BK6KM2WAKUUL37RKXHETUHSN"
)

func TestProblems(t *testing.T) {
	port := func(settings string) string { return "ports: {gps: {device: /dev/x, " + settings + "}}" }
	worker := func(text string) string { return "ports: {a: {device: x}}\nworkers: {" + text + "}" }
	for _, c := range []struct{ text, want string }{
		{"", "f:1:1: ports: missing; name at least one, as in ports: {gps: {device: /dev/ttyUSB0}}"},
		{"ports: {}", "f:1:8: ports: there are none; name at least one, as in ports: {gps: {device: /dev/ttyUSB0}}"},
		{"ports: [gps]", "f:1:8: ports: a list is not a mapping; write keys and values, as in {key: value}"},
		{"ports: {gps: {baud: 9600}}", "f:1:9: ports.gps.device: missing; set it to a path such as /dev/ttyUSB0 or /dev/serial/by-id/…, or say usb: {vid: …, pid: …}"},
		{"nam: x\nports: {a: {device: x}}", "f:1:1: nam: unknown key; did you mean name?"},
		{"servants: {}\nports: {a: {device: x}}", "f:1:1: servants: unknown key; there are name, subject_root, state_dir, log, broker, history, metrics, ports, workers"},
		{worker("A: {command: x}"), `f:2:11: workers.A: "A" cannot be a worker's name; use a to z, 0 to 9, - and _`},
		{worker("a: {command: x}"), "f:2:11: workers.a: a port has the same name, so that after: could mean either; choose another"},
		{worker("w: {}"), "f:2:11: workers.w.command: missing; write a list such as [./logger, --verbose], or a line for the shell"},
		{worker("w: {command: []}"), "f:2:24: workers.w.command: the list is empty; name the program in it, as in [./logger, --verbose], or write a line for the shell"},
		{worker("w: {command: x, role: root}"), `f:2:33: workers.w.role: "root" is not known; use tap, send or admin`},
		{worker("w: {command: x, ports: [b]}"), "f:2:35: workers.w.ports: there is no port \"b\"; there are a"},
		{worker("w: {command: x, ports: []}"), "f:2:34: workers.w.ports: empty; leave it out for all ports, or name some"},
		{worker("w: {command: x, after: b}"), "f:2:34: workers.w.after: there is no port or other worker \"b\"; there are a"},
		{worker("w: {command: x, after: w}"), "f:2:34: workers.w.after: a worker cannot wait for itself"},
		{worker("w: {command: x, after: v}, v: {command: x, after: w}"), "f:2:61: workers.v.after: they wait for each other: w after v after w"},
		{worker("w: {command: x, watchdog: 1ms}"), "f:2:37: workers.w.watchdog: 1ms is out of range; it can be from 50ms to 1h, or 0 for none"},
		{worker("w: {command: x, start_timeout: 1s}"), "f:2:42: workers.w.start_timeout: has no effect without notify: true"},
		{worker("w: {command: x, env: {NATS_URL: x}}"), "f:2:33: workers.w.env.NATS_URL: the supervisor sets it"},
		{worker("w: {command: x, stdio: true, role: admin}"), "f:2:46: workers.w.role: admin is of no use with stdio: true; write send or tap"},
		{"foo: x\nports: {a: {device: x}}", "f:1:1: foo: unknown key; there are name, subject_root, state_dir, log, broker, history, metrics, ports, workers"},
		{"state_dir: 5\nports: {a: {device: x}}", `f:1:12: state_dir: "5" is not a path; write one, in quotes if it looks like a number`},
		{"ports: {a: {device: \"/dev/x\\0\"}}", "f:1:21: ports.a.device: \"/dev/x\\x00\" has a control character in it; leave that out"},
		{"name: a b\nports: {a: {device: x}}", `f:1:7: name: "a b" cannot be a name; use letters, digits, - and _`},
		{"subject_root: a..b\nports: {a: {device: x}}", `f:1:15: subject_root: "a..b" cannot begin a subject; use letters, digits, - and _, in parts joined by dots, such as plant1.serial`},
		{"broker: {listen: here}\nports: {a: {device: x}}", `f:1:18: broker.listen: "here" is not an address; write host:port, such as 127.0.0.1:4222, with port 0 for a free one`},
		{"broker: {listen: \":4222\", users: [{name: a, role: tap, nkey: " + aKey + "}]}\nports: {a: {device: x}}", `f:1:18: broker.listen: ":4222" can be reached from other machines, where passwords and all traffic can be read on the way; add tls: to broker:, or insecure: true to it`},
		{"broker: {mqtt: {listen: 10.0.0.1:1883}, users: [{name: a, role: tap, nkey: " + aKey + "}]}\nports: {a: {device: x}}", `f:1:25: broker.mqtt.listen: "10.0.0.1:1883" can be reached from other machines, where passwords and all traffic can be read on the way; add tls: to broker:, or insecure: true to it`},
		{"broker: {websocket: {origins: https://x}}\nports: {a: {device: x}}", "f:1:21: broker.websocket.listen: missing; write host:port, or leave broker.websocket out"},
		{"broker: {users: {name: a}}\nports: {a: {device: x}}", "f:1:17: broker.users: a mapping is not a list; write - {name: …, password: …, role: tap}"},
		{"broker: {users: [{name: tap, role: tap, nkey: " + aKey + "}]}\nports: {a: {device: x}}", "f:1:25: broker.users.name: the supervisor has a user tap of its own; choose another name"},
		{"broker: {users: [{name: A b, role: tap, nkey: " + aKey + "}]}\nports: {a: {device: x}}", `f:1:25: broker.users.name: "A b" cannot be a user's name; use a to z, 0 to 9, - and _`},
		{"broker: {users: [{name: a, role: tap, password: secret}]}\nports: {a: {device: x}}", "f:1:49: broker.users.password: it is not the bcrypt hash of a password; supervisor passwd makes one"},
		{"broker: {users: [{name: a, role: tap, nkey: secret}]}\nports: {a: {device: x}}", "f:1:45: broker.users.nkey: it is not the public key of a user, which begins with U; supervisor nkey makes a pair"},
		{"broker: {users: [{name: a, role: tap}]}\nports: {a: {device: x}}", "f:1:18: broker.users.password: missing; write a hash that supervisor passwd makes, or nkey: …, or broker.tls.verify: true for one that is known by its certificate"},
		{"broker: {users: [{name: a, nkey: " + aKey + "}]}\nports: {a: {device: x}}", "f:1:18: broker.users.role: missing; write tap, send or admin"},
		{"broker: {users: [{name: a, role: tap, nkey: " + aKey + ", ports: [b]}]}\nports: {a: {device: x}}", "f:1:111: broker.users.ports: there is no port \"b\"; there are a"},
		{"broker: {users: [{name: a, role: tap, nkey: " + aKey + ", ports: []}]}\nports: {a: {device: x}}", "f:1:110: broker.users.ports: empty; leave it out for all ports, or name some"},
		{"broker: {users: [{name: a, role: admin, nkey: " + aKey + ", ports: [a]}]}\nports: {a: {device: x}}", "f:1:113: broker.users.ports: an admin may do everything with all ports; write role: send, or leave ports out"},
		{"broker: {users: [{name: a, role: tap, nkey: " + aKey + "}, {name: a, role: tap, nkey: " + bKey + "}]}\nports: {a: {device: x}}", "f:1:104: broker.users.name: there is another user a"},
		{"metrics: {listen: 0.0.0.0:9464}\nports: {a: {device: x}}", `f:1:19: metrics.listen: "0.0.0.0:9464" can be reached from other machines, which need no password; use 127.0.0.1, or add insecure: true beside it`},
		{"metrics: {listen: \":9464\", insecure: false}\nports: {a: {device: x}}", `f:1:19: metrics.listen: ":9464" can be reached from other machines, which need no password; use 127.0.0.1, or add insecure: true beside it`},
		{"metrics: {insecure: true}\nports: {a: {device: x}}", "f:1:10: metrics.listen: missing; write host:port, such as 127.0.0.1:9464, or leave metrics out"},
		{"metrics: {listen: 9464}\nports: {a: {device: x}}", `f:1:19: metrics.listen: "9464" is not an address; write host:port, such as 127.0.0.1:9464, with port 0 for a free one`},
		{"history: {max_bytes: much}\nports: {a: {device: x}}", `f:1:22: history.max_bytes: "much" is not a size; write a number of bytes, or one with B, KiB, MiB or GiB, such as 256MiB`},
		{"history: {max_age: 1 day}\nports: {a: {device: x}}", `f:1:20: history.max_age: "1 day" is not a duration; write a number and a unit, such as 50ms, 2s, 10m or 24h`},
		{"history: {sync: -1s}\nports: {a: {device: x}}", `f:1:17: history.sync: "-1s" is not known; write a duration such as 2s, or always`},
		{"ports: {supervisor: {device: x}}", "f:1:9: ports.supervisor: the name is taken by the supervisor itself; choose another"},
		{forwarding(33), "f:1:43: ports.gps.forward_to: there are 33; a port forwards to 32 at most"},
		{port("baud: fast"), `f:1:37: ports.gps.baud: "fast" is not a baud rate; use a number such as 9600 or 115200`},
		{port("baud: 0"), "f:1:37: ports.gps.baud: 0 is no baud rate; it can be from 1 to 50000000"},
		{port("baud: 1000000000"), "f:1:37: ports.gps.baud: 1000000000 is no baud rate; it can be from 1 to 50000000"},
		{port("baud: [9600]"), "f:1:37: ports.gps.baud: a list is not a single value"},
		{port("data_bits: 9"), `f:1:42: ports.gps.data_bits: "9" is not a whole number from 5 to 8`},
		{port("parity: maybe"), `f:1:39: ports.gps.parity: "maybe" is not known; use none, odd, even, mark or space`},
		{port("stop_bits: 3"), `f:1:42: ports.gps.stop_bits: "3" is not known; use 1, 1.5 or 2`},
		{port("stop_bits: 1.5"), "f:1:42: ports.gps.stop_bits: 1.5 stop bits go with data_bits: 5 alone; use 1 or 2"},
		{port("data_bits: 5, stop_bits: 2"), "f:1:56: ports.gps.stop_bits: with data_bits: 5 a second stop bit is half a one; use 1.5"},
		{port("flow_control: hard"), `f:1:45: ports.gps.flow_control: "hard" is not known; use none, rtscts or xonxoff`},
		{port("flow_control: rtscts, rts: off"), "f:1:58: ports.gps.rts: off does not go with flow_control: rtscts, where the driver switches RTS; leave it out"},
		{port("flow_control: rtscts, rs485: {enabled: true}"), "f:1:60: ports.gps.rs485: it does not go with flow_control: rtscts, as RTS switches the transceiver; use flow_control: none"},
		{port("dtr: up"), `f:1:36: ports.gps.dtr: "up" is not known; use on, off or keep`},
		{port("low_latency: 1ms"), `f:1:44: ports.gps.low_latency: "1ms" is not known; use true or false`},
		{port("rs485: {delay_after_ms: 5}"), "f:1:38: ports.gps.rs485.enabled: missing; use true or false"},
		{port("rs485: true"), `f:1:38: ports.gps.rs485: "true" is not a mapping; write keys and values, as in {key: value}`},
		{port("usb: {vid: 0403}"), "f:1:36: ports.gps.usb: device: and usb: both say which device it is; leave one out"},
		{"ports: {gps: {usb: {vid: xyz, pid: 403}}}", `f:1:26: ports.gps.usb.vid: "xyz" is not four hexadecimal digits, such as "0403"` + "\n" +
			`f:1:36: ports.gps.usb.pid: "403" is not four hexadecimal digits, such as "0403"`},
		{"ports: {gps: {usb: {}}}", "f:1:20: ports.gps.usb: it names nothing; use vid, pid, serial or interface, as `supervisor ports` shows them"},
		{"ports: {a: {usb: {vid: 10c4}}, b: {usb: {vid: 10C4}}}", "f:1:41: ports.b.usb: usb 10c4:any is the device of port a too, in line 1; a device belongs to one port, which many programs can use"},
		{port("framing: {type: raw, delimiter: x}"), "f:1:63: ports.gps.framing.delimiter: raw framing has no delimiter; leave it out, or use type: line"},
		{port("framing: xmodem"), `f:1:40: ports.gps.framing: "xmodem" is not known; use line, raw, fixed, length, gap, slip or cobs`},
		{port("framing: {max_bytes: 5}"), "f:1:40: ports.gps.framing.type: missing; use line, raw, fixed, length, gap, slip or cobs"},
		{port("framing: fixed"), "f:1:40: ports.gps.framing.bytes: missing; fixed framing needs it, as in {type: fixed, bytes: 16}"},
		{port("framing: {type: fixed, bytes: 0}"), `f:1:61: ports.gps.framing.bytes: "0" is out of range; it can be from 1B to 8MiB`},
		{port("framing: {type: gap}"), "f:1:40: ports.gps.framing.gap: missing; gap framing needs it, as in {type: gap, gap: 5ms}"},
		{port("framing: {type: gap, gap: 0}"), `f:1:57: ports.gps.framing.gap: "0" is no silence that could end a frame; write a duration above 0, such as 5ms`},
		{port("tx_framing: {type: gap, gap: -1ms}"), `f:1:60: ports.gps.tx_framing.gap: "-1ms" is no silence that could end a frame; write a duration above 0, such as 5ms`},
		{port("framing: {type: gap, gap: 1ms, idle_flush: 1s}"), "f:1:74: ports.gps.framing.idle_flush: gap framing has no idle_flush; leave it out, or use type: line, raw, fixed, length, slip or cobs"},
		{port("framing: {type: length}"), "f:1:40: ports.gps.framing.size: missing; length framing needs it, as in {type: length, size: 2}"},
		{port("framing: {type: length, size: 3}"), `f:1:61: ports.gps.framing.size: "3" is not known; use 1, 2 or 4`},
		{port("framing: {type: length, size: 2, offset: 7, max_bytes: 8}"), "f:1:72: ports.gps.framing: with offset 7 the length ends at byte 9, beyond max_bytes: 8"},
		{port("framing: {type: length, size: 2, byte_order: middle}"), `f:1:76: ports.gps.framing.byte_order: "middle" is not known; use big or little`},
		{port(`framing: {type: line, delimiter: ""}`), `f:1:64: ports.gps.framing.delimiter: "" has 0 bytes; a delimiter has 1 to 16, as in "\r\n" with double quotes`},
		{port("framing: {type: line, max_bytes: 9MiB}"), `f:1:64: ports.gps.framing.max_bytes: "9MiB" is out of range; it can be from 1B to 8MiB`},
		{port(`framing: {type: line, delimiter: '\r\n'}`), `f:1:64: ports.gps.framing.delimiter: "\r\n" are 4 characters, as a backslash is one like any other there; write "\r\n" with double quotes, where it has a meaning`},
		{worker("w: {command: x, watchdog: -2s}"), `f:2:37: workers.w.watchdog: "-2s" is negative; write a duration from 0 on, such as 50ms, 2s, 10m or 24h`},
		{"ports:\n  a:\n    device: x\n    forward_to: [e\n  e:\n    device: y\n", "f:5:3: not YAML: ',' or ']' must be specified; is the [ in line 4, column 17 closed?"},
		{"ports:\n  a:\n    device: \"x\n    baud: 9600\n", "f:3:13: not YAML: could not find end character of double-quoted text"},
		{"ports:\n  a: {device: x, baud: 9600\n  b: {device: y}\n", "f:3:3: not YAML: ',' or '}' must be specified; is the { in line 2, column 6 closed?"},
		{"ports:\n  a: {device: x, forward_to: [a, b}\n  b: {device: y}\n", "f:2:35: not YAML: ',' or ']' must be specified; is the [ in line 2, column 30 closed?"},
		{port("forward_to: [gps, tv]"), `f:1:49: ports.gps.forward_to: there is no port "tv"; there are gps`},
		{port("framing: {type: line, max_bytes: 8}, forward_to: gps"), "f:1:80: ports.gps.forward_to: port gps has framing.max_bytes: 8, and what is forwarded needs at least 256, as its headers count"},
		{port("queue: {max_messages: 0}"), `f:1:53: ports.gps.queue.max_messages: "0" is not a whole number from 1 to 100000000`},
		{port("device: y"), "f:1:31: ports.gps.device: stands here for the second time; the first is in line 1"},
		{"ports: {a: {usb: {}}, b: {usb: {}}}", "f:1:18: ports.a.usb: it names nothing; use vid, pid, serial or interface, as `supervisor ports` shows them\n" +
			"f:1:32: ports.b.usb: it names nothing; use vid, pid, serial or interface, as `supervisor ports` shows them"},
		{port("settle: 99999h"), `f:1:39: ports.gps.settle: "99999h" is out of range; it can be up to 10m`},
		{port("queue: {max_age: 999999h}"), `f:1:48: ports.gps.queue.max_age: "999999h" is out of range; it can be up to 87600h`},
		{port("framing: {type: gap, gap: 2h}"), `f:1:57: ports.gps.framing.gap: "2h" is out of range; it can be up to 1h`},
		{"history: {sync: 2h}\nports: {a: {device: x}}", `f:1:17: history.sync: "2h" is out of range; it can be up to 1h`},
		{"ports:\n  a: &x\n    device: /dev/a\n  b:\n    <<: *x\n    device: /dev/b", "f:5:5: ports.b.<<: merge keys and aliases are not supported; write the keys out"},
		{"ports:\n  a: &x\n    device: /dev/a\n  b: *x", "f:4:6: ports.b: aliases are not supported; write the keys out"},
		{strings.Repeat("[", 200_000), "f:1:33: nested more than 32 levels deep; a config has 5 at most"},
		{"a: " + strings.Repeat("{b: ", 50_000), "f:1:66: nested more than 32 levels deep; a config has 5 at most"},
		{strings.Repeat("- ", 100_000), "f:1:65: nested more than 32 levels deep; a config has 5 at most"},
		{indented(400), "f:33:34: nested more than 32 levels deep; a config has 5 at most"},
		{strings.Repeat("#", largestFile+1), "f:1:1: the file is larger than 256KiB, which no config is; is it the right file?"},
		{"a: [", "f:1:4: not YAML: sequence end token ']' not found"},
		{"a\xff", "f:1:1: the file is not UTF-8 text"},
	} {
		_, err := Parse("f", []byte(c.text))
		if err == nil {
			t.Errorf("%.200q: no problem found, want %s", c.text, c.want)
		} else if err.Error() != c.want {
			t.Errorf("%.200q:\ngot  %s\nwant %s", c.text, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("ports: {gps: {device: /dev/ttyUSB0, framing: {type: line, delimiter: \"\\r\\n\"}}}"))
	f.Add([]byte("a: &x {b: *x}\n<<: *x\n---\n? [k]\n: |\n  v\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err == nil {
			if len(c.Ports) == 0 {
				t.Fatal("a config without ports is called valid")
			}
			return
		}
		for _, p := range err.(Problems) {
			if p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Fatalf("a problem without a place or a message: %+v", p)
			}
		}
	})
}
