package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// network is a bridge with a network namespace for each gateway. The hub is on the bridge, in the machine's own namespace.
type network struct {
	address string // of the hub
	count   int
}

const bridge = "svfleet"

func newNetwork(count int) (*network, error) {
	n := &network{address: "10.213.0.1", count: count}
	n.remove() // what a run before has left
	steps := []string{"ip link add " + bridge + " type bridge", "ip addr add " + n.address + "/16 dev " + bridge, "ip link set " + bridge + " up"}
	for i := range count {
		space, outer := n.space(i), n.outer(i)
		steps = append(steps,
			"ip netns add "+space, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %s", outer, space),
			fmt.Sprintf("ip link set %s master %s up", outer, bridge),
			fmt.Sprintf("ip -n %s addr add 10.213.1.%d/16 dev eth0", space, i+1),
			"ip -n "+space+" link set eth0 up", "ip -n "+space+" link set lo up")
	}
	for _, step := range steps {
		if err := command(step); err != nil {
			n.remove()
			return nil, err
		}
	}
	return n, nil
}

func (n *network) space(i int) string { return fmt.Sprintf("svfleet%d", i) }

func (n *network) outer(i int) string { return fmt.Sprintf("svfleet-%d", i) }

// cut pulls the cable of a gateway, or puts it in again.
func (n *network) cut(i int, cut bool) error {
	state := "up"
	if cut {
		state = "down"
	}
	return command("ip -n " + n.space(i) + " link set eth0 " + state)
}

// swallow has the bridge drop all packets from and to a gateway, or not any more.
func (n *network) swallow(i int, swallow bool) error {
	state := "3" // forwarding, see bridge(8)
	if swallow {
		state = "0" // disabled
	}
	return command("bridge link set dev " + n.outer(i) + " state " + state)
}

// bytes are what a gateway has sent to the hub and got from there, Ethernet's headers included.
func (n *network) bytes(i int) (up, down float64) {
	read := func(counter string) (v float64) {
		text, _ := os.ReadFile("/sys/class/net/" + n.outer(i) + "/statistics/" + counter)
		v, _ = strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		return v
	}
	return read("rx_bytes"), read("tx_bytes")
}

// remove is for what there is of it.
func (n *network) remove() {
	for i := range n.count {
		_ = command("ip netns del " + n.space(i))
	}
	_ = command("ip link del " + bridge)
}

func command(line string) error {
	args := strings.Fields(line)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}
