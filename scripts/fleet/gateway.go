package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/simulator"
)

type leaf = ipc.LeafStatus

// gateway is a supervisor in a network namespace, with its devices.
type gateway struct {
	name, space, dir string
	cmd              *exec.Cmd
	devices          []*simulator.Pty
	said             []int // lines, by port
	end              chan struct{}
	saying           sync.WaitGroup
}

func nameOf(i int) string { return fmt.Sprintf("gw-%d", i) }

func startGateway(dir, space, name, urls string, ports int) (*gateway, error) {
	g := &gateway{name: name, space: space, dir: filepath.Join(dir, name), said: make([]int, ports), end: make(chan struct{})}
	var list []string
	for i := range ports {
		device, err := simulator.Open()
		if err != nil {
			return nil, err
		}
		g.devices = append(g.devices, device)
		list = append(list, fmt.Sprintf("p%d: {device: %s}", i, device.Path()))
	}
	config := fmt.Sprintf("name: %s\nbroker: {listen: \"127.0.0.1:0\", leaf: {urls: %s}}\nports: {%s}\n", name, urls, strings.Join(list, ", "))
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(g.dir, "c.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(g.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	g.cmd = g.supervisor(context.Background(), "run", "--config", filepath.Join(g.dir, "c.yaml"))
	g.cmd.Stderr, g.cmd.SysProcAttr = log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return g, g.cmd.Start()
}

// supervisor is a verb, to be run in the gateway's namespace.
func (g *gateway) supervisor(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"netns", "exec", g.space, filepath.Join(*programs, "supervisor")}, args...)
	return exec.CommandContext(ctx, "ip", append(args, "--state-dir", filepath.Join(g.dir, "state"))...)
}

func (g *gateway) stop() {
	for _, d := range g.devices {
		_ = d.Close()
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	_ = g.cmd.Wait()
}

func (g *gateway) status(ctx context.Context) (s ipc.Status, err error) {
	text, err := g.supervisor(ctx, "status", "--json").Output()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// await waits until the gateway stands with its hub as it should.
func (g *gateway) await(ctx context.Context, met func(leaf) bool) error {
	return until(ctx, 3*time.Minute, func() bool {
		s, err := g.status(ctx)
		return err == nil && s.Leaf != nil && met(*s.Leaf)
	})
}

// say has all devices say numbered lines until hush.
func (g *gateway) say(each time.Duration) {
	for i, d := range g.devices {
		g.saying.Go(func() {
			tick := time.NewTicker(each)
			defer tick.Stop()
			for {
				select {
				case <-g.end:
					return
				case <-tick.C:
					if _, err := fmt.Fprintf(d, "line %d\n", g.said[i]); err != nil {
						return
					}
					g.said[i]++
				}
			}
		})
	}
}

func (g *gateway) hush() {
	close(g.end)
	g.saying.Wait()
}
