package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/nats-io/nkeys"
)

// Leaf is the way to a hub, a NATS server or cluster of servers where many gateways come together.
type Leaf struct {
	URLs        []string // none: there is no hub
	Credentials string   // path of NATS credentials, or of the seed of a key; empty: what the URLs say
	CA          string   // path of a PEM file with those who may sign the hub's certificate; empty: those of the machine
	Domain      string   // of the hub's JetStream
	Stream      string   // of the hub, for what all gateways receive, send and go through
	SubjectRoot string   // first tokens of all the hub's subjects; the gateway's name follows
}

// Enabled says whether there is a hub.
func (l Leaf) Enabled() bool { return len(l.URLs) > 0 }

// defaultLeaf is a Leaf as it is when the file says nothing.
func defaultLeaf() Leaf { return Leaf{Domain: "hub", Stream: "FLEET", SubjectRoot: "fleet"} }

// tokenPattern is one token of a subject.
var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// leaf takes the way to the hub. What is in its files is looked at, too: a gateway that cannot log in would be noticed late.
func (c *collector) leaf(key string, n ast.Node, conf *Config) {
	l := &conf.Broker.Leaf
	token := func(to *string) func(string, ast.Node) {
		return func(key string, n ast.Node) {
			if !isScalar(n) || !tokenPattern.MatchString(text(n)) {
				c.fail(n, key, "%s cannot stand between the dots of a subject; use letters, digits, - and _", described(n))
				return
			}
			*to = text(n)
		}
	}
	var named []ast.Node // addresses with user:password
	present := c.mapping(n, key,
		field{"urls", func(key string, n ast.Node) { named = c.hubs(key, n, l) }},
		field{"credentials", c.fileOf(conf, &l.Credentials, checkCredentials)},
		field{"ca", c.fileOf(conf, &l.CA, checkCA)},
		field{"domain", token(&l.Domain)},
		field{"stream", token(&l.Stream)},
		field{"subject_root", c.subjectRoot(&l.SubjectRoot)},
	)
	if isMapping(n) && !present["urls"] {
		c.fail(n, key+".urls", "missing; write where the hub's servers listen for leaf nodes, as in [nats://hub.example:7422]")
	}
	if present["credentials"] {
		for _, url := range named {
			c.fail(url, key+".urls", "the address says who the gateway is, and so do the credentials; leave user:password@ out, or credentials")
		}
	}
}

// hubs takes the addresses of a hub's servers, and returns those with user:password.
func (c *collector) hubs(key string, n ast.Node, l *Leaf) (named []ast.Node) {
	list, nodes := c.names(key, n, "an address such as nats://hub.example:7422")
	for i, item := range list {
		if problem := hubProblem(item); problem != "" {
			c.fail(nodes[i], key, "%s", problem)
			continue
		}
		l.URLs = append(l.URLs, item)
		if u, err := url.Parse(item); err == nil && u.User != nil {
			named = append(named, nodes[i])
		}
	}
	if isEmptyList(n) {
		c.fail(n, key, "there is none; write where the hub's servers listen for leaf nodes, as in [nats://hub.example:7422]")
	}
	return named
}

// hubProblem is what is wrong with an address. It repeats no password.
func hubProblem(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "it is not an address; write nats://hub.example:7422, or tls://… , with %-escapes for what is special in user:password"
	case u.Scheme != "nats" && u.Scheme != "tls":
		return fmt.Sprintf("the address of a hub begins with nats:// or tls://, not with %q", u.Scheme+"://")
	case u.Hostname() == "":
		return "the address names no host; write nats://hub.example:7422"
	case u.User != nil && !isWhole(u.User):
		return "the address has a user or a password, and not both; write nats://user:password@hub.example:7422, or leave them out and write credentials:"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Sprintf("the address ends with the port; leave %q out", u.Path)
	}
	return ""
}

func isWhole(u *url.Userinfo) bool {
	password, _ := u.Password()
	return u.Username() != "" && password != ""
}

// fileOf takes the path of a file, and looks into it.
func (c *collector) fileOf(conf *Config, to *string, check func(content []byte) error) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		path := ""
		if c.path(&path)(key, n); path == "" {
			return
		}
		*to = conf.besideFile(path)
		content, err := readLittle(*to)
		if err == nil {
			err = check(content)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			c.fail(n, key, "%v; write the path of a file that is there, from the config's folder on", err)
		case errors.Is(err, fs.ErrPermission):
			c.fail(n, key, "%v; let the supervisor's user read it", err)
		case err != nil:
			c.fail(n, key, "%v", err)
		}
	}
}

// littleFile is the largest file of credentials or certificates.
const littleFile = 1 << 20

func readLittle(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, littleFile))
}

// checkCredentials wants what a NATS client logs in with: credentials, which are a token and a key, or the key alone.
func checkCredentials(content []byte) error {
	if _, err := nkeys.ParseDecoratedUserNKey(content); err != nil {
		return errors.New("the file has no key of a user: it is made of NATS credentials, or of the seed alone, which begins with SU; supervisor nkey makes one")
	}
	if strings.Contains(string(content), "BEGIN NATS USER JWT") {
		if token, err := nkeys.ParseDecoratedJWT(content); err != nil || strings.Count(token, ".") != 2 {
			return errors.New("the credentials have no whole token; get the file again from whoever runs the hub")
		}
	}
	return nil
}

// checkLeaf finds what does not go together with a hub. at is where the gateway's name stands, or nil.
func (c *collector) checkLeaf(leaf, at ast.Node, conf *Config) {
	if !conf.Broker.Leaf.Enabled() {
		return
	}
	if !tokenPattern.MatchString(conf.Name) {
		if at == nil {
			c.fail(leaf, "name", "the host's name, %q, cannot be part of the hub's subjects; write name: with letters, digits, - and _", conf.Name)
		} else {
			c.fail(at, "name", "%s cannot be part of the hub's subjects, which broker.leaf needs; use letters, digits, - and _", described(at))
		}
	}
	local, hub := conf.SubjectRoot+".", conf.Broker.Leaf.SubjectRoot+"."
	if strings.HasPrefix(local, hub) || strings.HasPrefix(hub, local) {
		c.fail(leaf, "broker.leaf.subject_root", "the gateway's own subjects begin with %s; choose something else for the hub's", conf.SubjectRoot)
	}
}
