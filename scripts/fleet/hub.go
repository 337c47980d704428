package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// servers is how many servers a hub has.
const servers = 3

// hub is a cluster of stock servers, set up as docs/fleet.md says.
type hub struct {
	dir, address string
	cmds         [servers]*exec.Cmd
	admin        *nats.Conn
	js           jetstream.JetStream
}

// Ports that the servers listen on, each with the server's number added.
const (
	clientPort  = 24220
	leafPort    = 27420
	clusterPort = 26220
)

func startHub(ctx context.Context, dir, address string, gateways int) (*hub, error) {
	h := &hub{dir: dir, address: address}
	var users, routes, urls []string
	for i := range gateways {
		users = append(users, strings.ReplaceAll(`{user: NAME, password: NAME, permissions: {
  publish: {allow: ["fleet.NAME.>", "$JS.hub.API.DIRECT.GET.FLEET.fleet.NAME.>", "_INBOX.>"]}
  subscribe: {allow: ["fleet.NAME.*.tx", "fleet.NAME.*.request", "fleet.NAME.status", "_INBOX_fleet_NAME.>"]}}}`, "NAME", nameOf(i)))
	}
	for i := range servers {
		routes = append(routes, fmt.Sprintf("nats://%s:%d", address, clusterPort+i))
		urls = append(urls, fmt.Sprintf("nats://%s:%d", address, clientPort+i))
	}
	for i := range servers {
		config := fmt.Sprintf(`server_name: hub-%d
listen: "%s:%d"
ping_interval: "5s"
ping_max: 2
jetstream { store_dir: %q, domain: hub }
leafnodes { listen: "%s:%d", isolate_leafnode_interest: true }
cluster { name: hub, listen: "%s:%d", routes: [%s] }
accounts { FLEET { jetstream: enabled, users: [{user: admin, password: secret}, %s] } }
`, i, address, clientPort+i, filepath.Join(dir, fmt.Sprint(i)), address, leafPort+i, address, clusterPort+i, strings.Join(routes, ", "), strings.Join(users, ",\n"))
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprint(i)), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.conf", i)), []byte(config), 0o600); err != nil {
			return nil, err
		}
		if err := h.start(i); err != nil {
			return nil, err
		}
	}
	return h, h.prepare(ctx, strings.Join(urls, ","))
}

// prepare makes the stream when the servers have found each other.
func (h *hub) prepare(ctx context.Context, urls string) (err error) {
	err = until(ctx, time.Minute, func() bool {
		if h.admin == nil {
			nc, err := nats.Connect(urls, nats.UserInfo("admin", "secret"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
			if err != nil {
				return false
			}
			h.admin = nc
		}
		if h.js, err = jetstream.New(h.admin); err != nil {
			return false
		}
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err = h.js.CreateOrUpdateStream(asking, jetstream.StreamConfig{
			Name: "FLEET", Subjects: []string{"fleet.*.*.rx", "fleet.*.*.sent", "fleet.*.*.state", "fleet.*.*.expired"}, AllowDirect: true, Replicas: servers,
		})
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("the hub's stream: %w", err)
	}
	return nil
}

func (h *hub) start(i int) error {
	log, err := os.OpenFile(filepath.Join(h.dir, fmt.Sprintf("%d.log", i)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(filepath.Join(*programs, "hub"), "-c", filepath.Join(h.dir, fmt.Sprintf("%d.conf", i)))
	cmd.Stderr, cmd.SysProcAttr = log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.cmds[i] = cmd
	return cmd.Start()
}

func (h *hub) kill(i int) {
	_ = h.cmds[i].Process.Kill()
	_ = h.cmds[i].Wait()
}

func (h *hub) stop() {
	for i, cmd := range h.cmds {
		if cmd != nil {
			h.kill(i)
		}
	}
}

// urls are where a gateway connects to.
func (h *hub) urls(name string) string {
	var list []string
	for i := range servers {
		list = append(list, fmt.Sprintf("%q", fmt.Sprintf("nats://%s:%s@%s:%d", name, name, h.address, leafPort+i)))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// stream asks for the stream.
func (h *hub) stream(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return h.js.Stream(ctx, "FLEET")
}

// leader is the server that leads the stream.
func (h *hub) leader(ctx context.Context) (i int, err error) {
	err = until(ctx, time.Minute, func() bool {
		s, err := h.stream(ctx)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		_, err = fmt.Sscanf(s.CachedInfo().Cluster.Leader, "hub-%d", &i)
		return err == nil
	})
	return i, err
}

// stored counts what the stream holds.
func (h *hub) stored(ctx context.Context) (uint64, error) {
	s, err := h.stream(ctx)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.Msgs, nil
}

// lines reads the texts of all messages on rx, by subject and in order.
func (h *hub) lines(ctx context.Context) (map[string][]string, error) {
	s, err := h.stream(ctx)
	if err != nil {
		return nil, err
	}
	want := s.CachedInfo().State.LastSeq
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	messages, err := c.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	all := map[string][]string{}
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(m.Subject(), ".rx") {
			all[m.Subject()] = append(all[m.Subject()], string(m.Data()))
		}
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream >= want {
			return all, err
		}
	}
}

// until waits for a condition.
func until(ctx context.Context, limit time.Duration, met func() bool) error {
	late := time.After(limit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("not after %s", limit)
		case <-tick.C:
		}
	}
	return nil
}
