package ipc_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

var credentials = ipc.Credentials{URL: "nats://127.0.0.1:4222", User: "tap", Password: "it's $ecret", Root: "plant1.serial"}

func TestEnvFileRoundTrip(t *testing.T) {
	got, err := ipc.ReadEnvFile(strings.NewReader(credentials.EnvLines()))
	if err != nil {
		t.Fatal(err)
	}
	if got != credentials {
		t.Errorf("read back %+v, want %+v", got, credentials)
	}
	if _, err := ipc.ReadEnvFile(strings.NewReader("NATS_USER=tap\n")); err == nil {
		t.Error("a file without NATS_URL was accepted")
	}
}

// The line is for `eval`, so a real shell must understand it.
func TestExportInAShell(t *testing.T) {
	out, err := exec.Command("sh", "-c", credentials.Export()+`; printf '%s|%s|%s|%s' "$NATS_URL" "$NATS_USER" "$NATS_PASSWORD" "$SERIALVISOR_ROOT"`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "nats://127.0.0.1:4222|tap|it's $ecret|plant1.serial"; string(out) != want {
		t.Errorf("the shell has %q, want %q", out, want)
	}
}

func TestDefaultRootIsNotNamed(t *testing.T) {
	c := credentials
	c.Root = ipc.DefaultRoot
	if strings.Contains(c.EnvLines(), ipc.EnvRoot) {
		t.Error("the env file names the default root, which stock clients have no use for")
	}
	if got := ipc.CredentialsFrom(func(string) string { return "" }); got.Root != ipc.DefaultRoot {
		t.Errorf("without a root in the environment it is %q, want %q", got.Root, ipc.DefaultRoot)
	}
}

func TestWorkerEnvironment(t *testing.T) {
	t.Setenv("HOME", "/home/somebody")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of the supervisor's user")
	spec := &ipc.Spec{Port: "gps", Session: "abc", Forward: []ipc.Target{{Port: "echo", MaxBytes: 4096}}}
	env, err := ipc.Environ("gps/reader", []string{"gps"}, credentials, spec)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(env, "HOME=/home/somebody") || !slices.Contains(env, "SERIALVISOR_WORKER=gps/reader") || !slices.Contains(env, "SERIALVISOR_PORTS=gps") {
		t.Errorf("the environment lacks what the contract promises: %q", env)
	}
	if slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "AWS_") }) {
		t.Error("a worker inherits the secrets of the supervisor's user")
	}
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	gotCredentials, gotSpec, err := ipc.FromEnviron()
	if err != nil {
		t.Fatal(err)
	}
	if gotCredentials != credentials || gotSpec.Port != "gps" || gotSpec.Forward[0] != spec.Forward[0] {
		t.Errorf("the worker reads %+v and %+v", gotCredentials, gotSpec)
	}
}

func TestStartedByHand(t *testing.T) {
	for _, name := range []string{ipc.EnvURL, "SERIALVISOR_SPEC"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := ipc.FromEnviron(); !errors.Is(err, ipc.ErrNotWorker) {
		t.Errorf("FromEnviron() = %v, want ErrNotWorker", err)
	}
}
