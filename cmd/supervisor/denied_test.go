package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// verbAs is a verb as a user of the config, who is told by the environment how to connect. It has its time to say what is wrong,
// which is less than a verb waits for an answer.
func (g *gateway) verbAs(t *testing.T, url, user, password string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(g.programs, "supervisor"), args...)
	cmd.Dir = t.TempDir() // without a config
	cmd.Env = append(os.Environ(), "GORACE="+raceOptions, "NATS_URL="+url, "NATS_USER="+user, "NATS_PASSWORD="+password)
	return cmd
}

// Users who may not do what a verb asks for are told so at once, by name, and what they need.
func TestVerbsOfUsersWhoMayNot(t *testing.T) {
	g := newOpenGateway(t)
	lab, robot, guest := g.hash(t, "correct horse"), g.hash(t, "battery staple"), g.hash(t, "open sesame")
	g.setBroker(t, "listen: 127.0.0.1:0, users: [{name: lab, password: "+lab+", role: tap, ports: [gps]}, "+
		"{name: robot, password: "+robot+", role: send, ports: [gps]}, {name: guest, password: "+guest+", role: tap}]")
	g.run(t)
	url := g.env(t, "tap")["NATS_URL"]
	passwords := map[string]string{"lab": "correct horse", "robot": "battery staple", "guest": "open sesame"}
	const config = " in broker.users of the gateway's config"
	const needSend, needTap = "; ask for role send, or for the port," + config, "; ask for role tap, or for the port," + config
	const needAdmin = "; ask for role admin" + config
	for _, c := range []struct{ user, verb, want string }{
		{"lab", "send gps hi", "user lab may not send to port gps" + needSend + "; nothing was sent"},
		{"lab", "send --wait gps hi", "user lab may not send to port gps" + needSend + "; nothing was sent"},
		{"guest", "send gps hi", "user guest may not send to port gps" + needSend + "; nothing was sent"},
		{"robot", "send other hi", "user robot may not send to port other" + needSend + "; nothing was sent"},
		{"robot", "send none hi", `there is no port "none"; this gateway has: gps, other; nothing was sent`},
		{"lab", "request gps hi", "user lab may not make requests of port gps" + needSend + "; nothing was sent"},
		{"lab", "control gps", "user lab may not control port gps" + needSend},
		{"robot", "control other baud=9600", "user robot may not control port other" + needSend},
		{"lab", "lease gps", "user lab may not lease port gps" + needSend},
		{"lab", "reload", "user lab may not reload the config" + needAdmin},
		{"robot", "reload --dry-run", "user robot may not reload the config" + needAdmin},
		{"lab", "upgrade", "user lab may not upgrade the supervisor" + needAdmin},
		{"lab", "start alarm", "user lab may not start worker alarm" + needAdmin},
		{"robot", "stop alarm", "user robot may not stop worker alarm" + needAdmin},
		{"lab", "restart alarm", "user lab may not restart worker alarm" + needAdmin},
		{"lab", "tap other -n 1", "user lab may not tap port other; ask for the port" + config},
		{"lab", "tap other --since 1m -n 1", "user lab may not tap port other; ask for the port" + config},
		{"robot", "tap --since 1m -n 1 gps", "user robot may not read the history; ask for role tap" + config},
		{"lab", "export other", "user lab may not read the history of port other" + needTap},
		{"robot", "export gps", "user robot may not read the history of port gps" + needTap},
	} {
		begun := time.Now()
		var errs strings.Builder
		cmd := g.verbAs(t, url, c.user, passwords[c.user], strings.Fields(c.verb)...)
		cmd.Stderr = &errs
		out, err := cmd.Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || errs.String() != "supervisor: "+c.want+"\n" || len(out) > 0 {
			t.Errorf("%s of %s: %v, prints %q and %q, want %q", c.verb, c.user, err, out, errs.String(), c.want)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("%s of %s took %s", c.verb, c.user, took)
		}
	}

	// Who names no port gets those that he may watch.
	for _, c := range []struct{ user, since, says string }{
		{"lab", "", "supervisor: left out, as user lab may not tap: other\nsupervisor: listening\n"},
		{"guest", "", "supervisor: listening\n"},
		{"lab", "--since=1h", "supervisor: left out, as user lab may not tap: other\nsupervisor: listening\n"},
	} {
		printed, said := &output{}, &output{}
		cmd := g.verbAs(t, url, c.user, passwords[c.user], strings.Fields("tap -n 1 "+c.since)...)
		cmd.Stdout, cmd.Stderr = printed, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "the tap listens", func() bool { return strings.Contains(said.String(), "listening") })
		if _, err := g.device.Write([]byte("one\n")); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(printed.String(), "one") || !strings.HasPrefix(said.String(), c.says) {
			t.Errorf("tap %s of %s: %v, prints %q and %q, want %q", c.since, c.user, err, printed, said, c.says)
		}
	}
}
