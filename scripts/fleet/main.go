// Command fleet runs many gateways and a hub on one machine and accounts for every line while links and servers fail;
// scripts/fleet.sh builds and runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

var (
	programs = flag.String("programs", "bin", "folder with supervisor, reader, writer and hub, a nats-server")
	gateways = flag.Int("gateways", 20, "how many there are")
	ports    = flag.Int("ports", 8, "of each")
	rate     = flag.Float64("rate", 5, "lines a second that each port receives")
	cutFor   = flag.Duration("cut", time.Minute, "how long links are cut")
	steady   = flag.Duration("steady", 30*time.Second, "how long CPU time is measured")
	keep     = flag.Bool("keep", false, "keep the folder with logs and stores")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	good, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
	}
	if err != nil || !good {
		os.Exit(1)
	}
}

func run(ctx context.Context) (good bool, err error) {
	dir, err := os.MkdirTemp("", "serialvisor-fleet-")
	if err != nil {
		return false, err
	}
	if *keep {
		fmt.Fprintln(os.Stderr, "fleet: logs and stores are in", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	net, err := newNetwork(*gateways)
	if err != nil {
		return false, err
	}
	defer net.remove()
	h, err := startHub(ctx, filepath.Join(dir, "hub"), net.address, *gateways)
	if err != nil {
		return false, err
	}
	defer h.stop()
	all := make([]*gateway, *gateways)
	for i := range all {
		if all[i], err = startGateway(dir, net.space(i), nameOf(i), h.urls(nameOf(i)), *ports); err != nil {
			return false, err
		}
		defer all[i].stop()
	}
	for _, g := range all {
		if err := g.await(ctx, func(s leaf) bool { return s.Connected && s.Behind == 0 }); err != nil {
			return false, fmt.Errorf("%s is not connected: %w", g.name, err)
		}
	}
	r := &trial{ctx: ctx, net: net, hub: h, all: all}
	if err := r.measure(); err != nil {
		return false, err
	}
	return r.print(), nil
}
