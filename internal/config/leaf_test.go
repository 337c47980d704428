package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
)

// withLeaf is a config with settings of broker.leaf.
func withLeaf(settings string) []byte {
	return []byte("name: gw-1\nbroker: {leaf: {" + settings + "}}\nports: {a: {device: x}}")
}

func TestLeaf(t *testing.T) {
	c, err := Parse("f", withLeaf(`urls: ["nats://a:b@hub:7422", tls://other]`))
	if err != nil {
		t.Fatal(err)
	}
	want := Leaf{URLs: []string{"nats://a:b@hub:7422", "tls://other"}, Domain: "hub", Stream: "FLEET", SubjectRoot: "fleet"}
	if !reflect.DeepEqual(c.Broker.Leaf, want) || !c.Broker.Leaf.Enabled() {
		t.Errorf("read as %+v, want %+v", c.Broker.Leaf, want)
	}
	if c, err := Parse("f", withLeaf("urls: nats://hub, domain: far, stream: ALL, subject_root: all.gateways")); err != nil || c.Broker.Leaf.Stream != "ALL" ||
		c.Broker.Leaf.Domain != "far" || c.Broker.Leaf.SubjectRoot != "all.gateways" {
		t.Errorf("read as %+v, %v", c, err)
	}
	if c, err := Parse("f", []byte("name: a.b c\nports: {a: {device: x}}")); err == nil || c != nil {
		t.Errorf("a name with a space was taken: %+v", c)
	}
}

// TestLeafFiles has files of credentials of all kinds.
func TestLeafFiles(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := pair.Seed()
	other, _ := account.Seed()
	creds := func(token string) string {
		return fmt.Sprintf("-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", token, seed)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("gw.nkey", seed, 0o600); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, string(withLeaf(`credentials: gw.nkey, urls: [tls://hub, "nats://a:b@hub"]`)),
		"f:2:57: broker.leaf.urls: the address says who the gateway is, and so do the credentials; leave user:password@ out, or credentials")
	for name, c := range map[string]struct{ content, want string }{
		"a seed":                    {string(seed) + "\n", ""},
		"credentials":               {creds("eyJ0.eyJq.c2ln"), ""},
		"nothing":                   {"", "the file has no key of a user"},
		"an account's seed":         {string(other), "the file has no key of a user"},
		"credentials without token": {creds("eyJ0"), "the credentials have no whole token"},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(filepath.Join(filepath.Dir(path), "f"), withLeaf("urls: [nats://hub], credentials: file"))
		switch {
		case c.want == "" && (err != nil || parsed.Broker.Leaf.Credentials != path):
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), ":2:50: broker.leaf.credentials: "+c.want)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestLeafProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{string(withLeaf("urls: [http://hub]")), `f:2:24: broker.leaf.urls: the address of a hub begins with nats:// or tls://, not with "http://"`},
		{string(withLeaf("urls: [nats://]")), "f:2:24: broker.leaf.urls: the address names no host; write nats://hub.example:7422"},
		{string(withLeaf("urls: [nats://hub/x]")), `f:2:24: broker.leaf.urls: the address ends with the port; leave "/x" out`},
		{string(withLeaf(`urls: ["nats://a:s%zecret@hub"]`)), "f:2:24: broker.leaf.urls: it is not an address; write nats://hub.example:7422, or tls://… , with %-escapes for what is special in user:password"},
		{string(withLeaf(`urls: ["nats://a@hub"]`)), "f:2:24: broker.leaf.urls: the address has a user or a password, and not both; write nats://user:password@hub.example:7422, or leave them out and write credentials:"},
		{string(withLeaf(`urls: ["nats://a:@hub"]`)), "f:2:24: broker.leaf.urls: the address has a user or a password, and not both; write nats://user:password@hub.example:7422, or leave them out and write credentials:"},
		{string(withLeaf(`urls: ["nats://:b@hub"]`)), "f:2:24: broker.leaf.urls: the address has a user or a password, and not both; write nats://user:password@hub.example:7422, or leave them out and write credentials:"},
		{string(withLeaf("urls: []")), "f:2:23: broker.leaf.urls: there is none; write where the hub's servers listen for leaf nodes, as in [nats://hub.example:7422]"},
		{string(withLeaf("stream: A")), "f:2:16: broker.leaf.urls: missing; write where the hub's servers listen for leaf nodes, as in [nats://hub.example:7422]"},
		{string(withLeaf("urls: [nats://hub], stream: A.B")), `f:2:45: broker.leaf.stream: "A.B" cannot stand between the dots of a subject; use letters, digits, - and _`},
		{string(withLeaf("urls: [nats://hub], subject_root: serial.all")), "f:2:16: broker.leaf.subject_root: the gateway's own subjects begin with serial; choose something else for the hub's"},
		{string(withLeaf("urls: [nats://hub], credentials: not-there")), "f:2:50: broker.leaf.credentials: open not-there: no such file or directory; write the path of a file that is there, from the config's folder on"},
		{string(withLeaf("urls: [nats://hub], ca: leaf.go")), "f:2:41: broker.leaf.ca: the file has no certificate in PEM form; name one with -----BEGIN CERTIFICATE----- in it"},
		{"name: lab:1\nbroker: {leaf: {urls: [nats://hub]}}\nports: {a: {device: x}}", `f:1:7: name: "lab:1" cannot be part of the hub's subjects, which broker.leaf needs; use letters, digits, - and _`},
	} {
		_, err := Parse("f", []byte(c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}
