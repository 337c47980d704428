package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What people have at hand is the nats command: each user of the config gets with it what the role gives, and a clear answer else.
func TestNatsCommand(t *testing.T) {
	if _, err := exec.LookPath("nats"); err != nil {
		t.Fatal("there is no nats: go install github.com/nats-io/natscli/nats@v0.5.1")
	}
	g := newOpenGateway(t)
	hash := g.hash(t, password)
	g.setBroker(t, "listen: 127.0.0.1:0, users: [{name: lab, password: "+hash+", role: tap, ports: [gps]}, {name: robot, password: "+hash+", role: send, ports: [gps]}, {name: boss, password: "+hash+", role: admin}]")
	g.run(t)
	url, home := g.env(t, "tap")["NATS_URL"], t.TempDir()
	as := func(user string, args ...string) *exec.Cmd {
		cmd := exec.Command("nats", append([]string{"--server", url, "--user", user, "--password", password}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home)
		return cmd
	}
	run := func(user string, args ...string) string {
		t.Helper()
		out, err := as(user, args...).CombinedOutput()
		if err != nil {
			t.Errorf("nats %s as %s: %v: %s", strings.Join(args, " "), user, err, out)
		}
		return string(out)
	}

	heard := make(chan string, 1)
	sub := as("lab", "sub", "serial.gps.rx", "--count", "1", "--raw")
	go func() { // ends with the command
		out, _ := sub.Output()
		heard <- strings.TrimSpace(string(out))
	}()
	waitUntil(t, "lab hears the device", func() bool { // it does not say when it has subscribed
		if _, err := g.device.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-heard:
			if got != "hello" {
				t.Errorf("lab hears %q", got)
			}
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	device := g.hearUntil("ping\n")
	if out := run("robot", "req", "--raw", "serial.gps.tx", "ping"); !strings.Contains(out, `"stream":"SERIAL_QUEUE"`) {
		t.Errorf("the queue answers %s", out)
	}
	wantHeard(t, device, "ping\n", patience)

	run("lab", "consumer", "add", "SERIAL_HISTORY", "d", "--pull", "--defaults", "--filter", "serial.gps.rx")
	if out := run("lab", "consumer", "next", "SERIAL_HISTORY", "d", "--raw", "--count", "1"); strings.TrimSpace(out) != "hello" {
		t.Errorf("the history has %q", out)
	}
	out, err := as("lab", "consumer", "add", "SERIAL_HISTORY", "e", "--pull", "--defaults", "--filter", "serial.other.rx").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "user lab may read the history of gps alone, and not of serial.other.rx") {
		t.Errorf("the history of another port: %v: %s", err, out)
	}
	run("lab", "consumer", "rm", "SERIAL_HISTORY", "d", "--force")
	if out := run("boss", "micro", "ls"); !strings.Contains(out, "serialvisor") {
		t.Errorf("the services are %s", out)
	}
	if out := run("boss", "micro", "info", "serialvisor"); !strings.Contains(out, "serial.supervisor.reload") {
		t.Errorf("the service is %s", out)
	}
}
