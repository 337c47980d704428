package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsServer builds the stock server, once.
var natsServer = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programs, "nats-server")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

// hub is a stock NATS server, or a cluster of them, set up as docs/fleet.md says.
type hub struct {
	nodes []*hubNode
	admin *nats.Conn // may do everything in the account
	js    jetstream.JetStream
}

type hubNode struct {
	dir, client, leaf string // folder, and addresses
	log               *output
	cmd               *exec.Cmd
}

// startHub starts a hub of some servers, with a user for each gateway, and its stream.
func startHub(t *testing.T, servers int, gateways ...string) *hub {
	t.Helper()
	h := newHub(t, servers, gateways...)
	h.createStream(t)
	return h
}

// newHub is one without a stream.
func newHub(t *testing.T, servers int, gateways ...string) *hub {
	t.Helper()
	var users, routes []string
	for _, name := range gateways {
		users = append(users, hubUser(name))
	}
	h := &hub{}
	var clusters []string
	for range servers {
		h.nodes = append(h.nodes, &hubNode{dir: t.TempDir(), client: freeAddress(t), leaf: freeAddress(t)})
		clusters = append(clusters, freeAddress(t))
		routes = append(routes, "nats://"+clusters[len(clusters)-1])
	}
	for i, n := range h.nodes {
		config := fmt.Sprintf(`server_name: hub-%d
listen: %s
ping_interval: "5s"
ping_max: 2
connect_error_reports: 100000
reconnect_error_reports: 100000
jetstream { store_dir: %q, domain: hub }
leafnodes { listen: %q, isolate_leafnode_interest: true, authorization: {timeout: 10} }
accounts { FLEET { jetstream: enabled, users: [{user: admin, password: secret}, %s] } }
`, i, n.client, n.dir, n.leaf, strings.Join(users, ", "))
		if servers > 1 {
			config += fmt.Sprintf("cluster { name: hub, listen: %q, routes: [%s] }\n", clusters[i], strings.Join(routes, ", "))
		}
		if err := os.WriteFile(filepath.Join(n.dir, "hub.conf"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		n.start(t)
	}
	h.connect(t)
	return h
}

// hubUser is the hub's user of a gateway, with rights for nothing else.
func hubUser(name string) string {
	s := strings.NewReplacer("NAME", name)
	return s.Replace(`{user: NAME, password: secret-NAME, permissions: {
  publish: {allow: ["fleet.NAME.>", "$JS.hub.API.DIRECT.GET.FLEET.fleet.NAME.>", "_INBOX.>"]}
  subscribe: {allow: ["fleet.NAME.*.tx", "fleet.NAME.*.request", "fleet.NAME.status", "_INBOX_fleet_NAME.>"]}
}}`)
}

// start runs a server, again after it was killed.
func (n *hubNode) start(t *testing.T) {
	t.Helper()
	path, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	n.log = &output{}
	cmd := exec.Command(path, "-c", filepath.Join(n.dir, "hub.conf"))
	cmd.Stderr = n.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.cmd = cmd
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it is dead
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("hub %s:\n%s", n.dir, n.log.String()[strings.Index(n.log.String(), "Server is ready"):])
		}
	})
}

// kill kills a server.
func (n *hubNode) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

// urls are where its servers listen for leaf nodes, with a gateway's user.
func (h *hub) urls(gateway string) string {
	var list []string
	for _, n := range h.nodes {
		list = append(list, fmt.Sprintf("%q", "nats://"+gateway+":secret-"+gateway+"@"+n.leaf))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// connect connects the admin, and waits until the hub's store answers.
func (h *hub) connect(t *testing.T) {
	t.Helper()
	var urls []string
	for _, n := range h.nodes {
		urls = append(urls, "nats://"+n.client)
	}
	waitUntil(t, "the hub answers", func() bool {
		nc, err := nats.Connect(strings.Join(urls, ","), nats.UserInfo("admin", "secret"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
		if err != nil {
			return false
		}
		h.admin = nc
		return true
	})
	t.Cleanup(h.admin.Close)
	var err error
	if h.js, err = jetstream.New(h.admin, jetstream.WithDefaultTimeout(patience)); err != nil {
		t.Fatal(err)
	}
}

// listen hears what passes on the hub from now on.
func (h *hub) listen(t *testing.T, subject string) *nats.Subscription {
	t.Helper()
	sub, err := h.admin.SubscribeSync(subject)
	if err == nil {
		err = h.admin.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// createStream makes the stream, when the servers have agreed on who leads.
func (h *hub) createStream(t *testing.T) {
	t.Helper()
	waitUntil(t, "the hub has its stream", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := h.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: "FLEET", Subjects: []string{"fleet.*.*.rx", "fleet.*.*.sent", "fleet.*.*.state", "fleet.*.*.expired"}, AllowDirect: true, Replicas: len(h.nodes),
		})
		return err == nil
	})
}

// count is how much the stream holds on a subject; 0 while it elects a leader.
func (h *hub) count(t *testing.T, subject string) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	s, err := h.js.Stream(ctx, "FLEET")
	if err != nil {
		return 0
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0
	}
	for _, messages := range info.State.Subjects {
		n += int(messages)
	}
	return n
}

// stored is what the stream holds on a subject, in its order; nothing while it cannot be read.
func (h *hub) stored(t *testing.T, subject string) (list []jetstream.Msg) {
	t.Helper()
	want := h.count(t, subject)
	if want == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience/4)
	defer cancel()
	s, err := h.js.Stream(ctx, "FLEET")
	if err != nil {
		return nil
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Log(err)
		return nil
	}
	messages, err := c.Messages()
	if err != nil {
		t.Log(err)
		return nil
	}
	defer messages.Stop()
	for len(list) < want {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Log(err)
			return nil
		}
		list = append(list, m)
	}
	return list
}

// awaitLines waits until the hub has as many of the lines of gateway.sayLines, and wants each once and in order.
func (h *hub) awaitLines(t *testing.T, gateway string, count int) {
	t.Helper()
	h.awaitLinesOf(t, "fleet."+gateway+".gps.rx", count)
}

func (h *hub) awaitLinesOf(t *testing.T, subject string, count int) {
	t.Helper()
	var lines []jetstream.Msg
	waitUntil(t, "the hub has all lines", func() bool { return h.count(t, subject) >= count })
	waitUntil(t, "the hub tells all lines", func() bool { lines = h.stored(t, subject); return len(lines) >= count })
	seen := map[string]int{}
	for i, m := range lines {
		text := string(m.Data())
		if seen[text]++; seen[text] > 1 {
			t.Errorf("%q is stored twice on the hub: %v", text, m.Headers())
		} else if want := fmt.Sprintf("line %d", i); text != want && len(seen) == i+1 {
			t.Errorf("line %d of %d on the hub is %q", i, len(lines), text)
			break
		}
	}
	if len(lines) != count {
		t.Errorf("%d lines are stored on the hub and %d were said", len(lines), count)
	}
}

// proxy passes a TCP connection on, and can delay it, cut it or have it swallow everything.
type proxy struct {
	listener net.Listener
	target   string
	all      sync.WaitGroup

	mu      sync.Mutex    // guards all below
	delay   time.Duration // each way
	refuses bool
	holes   chan struct{} // closed when data passes again; nil: it passes
	conns   map[net.Conn]bool
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.all.Wait()
	})
	return p
}

// url is the proxy's, with a gateway's user.
func (p *proxy) url(gateway string) string {
	return fmt.Sprintf("[%q]", "nats://"+gateway+":secret-"+gateway+"@"+p.listener.Addr().String())
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		p.mu.Lock()
		if err != nil || p.refuses {
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			p.mu.Unlock()
			continue
		}
		p.conns[in], p.conns[out] = true, true
		p.mu.Unlock()
		p.all.Go(func() { p.pass(in, out) })
		p.all.Go(func() { p.pass(out, in) })
	}
}

// pass copies until either side ends. What is delayed does not hold up what comes behind it.
func (p *proxy) pass(to, from net.Conn) {
	type parcel struct {
		due  time.Time
		data []byte
	}
	under := make(chan parcel, 1<<10) // way
	p.all.Go(func() {
		defer close(under)
		for {
			data := make([]byte, 16<<10)
			n, err := from.Read(data)
			if err != nil {
				return
			}
			p.mu.Lock()
			due := time.Now().Add(p.delay)
			p.mu.Unlock()
			under <- parcel{due, data[:n]}
		}
	})
	for next := range under {
		<-time.After(time.Until(next.due))
		p.mu.Lock()
		hole := p.holes
		p.mu.Unlock()
		if hole != nil {
			<-hole
		}
		_, _ = to.Write(next.data) // an error means that the other side has ended; then so does this one
	}
	_, _ = to.Close(), from.Close()
}

// slow has everything take so long each way.
func (p *proxy) slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// cut ends all connections, and lets no new ones be.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = true
	if p.holes != nil {
		close(p.holes)
		p.holes = nil
	}
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

// swallow has everything vanish from now on, and nobody told.
func (p *proxy) swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holes = make(chan struct{})
}

// restore has data pass again.
func (p *proxy) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = false
	if p.holes != nil {
		close(p.holes)
		p.holes = nil
	}
}
