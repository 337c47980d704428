package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

var portPattern = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// portNodes is where a port's parts stand, for problems that concern several ports.
type portNodes struct {
	device  ast.Node
	forward []ast.Node
}

func (c *collector) ports(key string, n ast.Node, conf *Config) {
	var nodes []portNodes
	c.entries(n, key, func(name string, keyNode, value ast.Node) {
		switch {
		case !portPattern.MatchString(name):
			c.fail(keyNode, join(key, name), "%q cannot be a port's name; use a to z, 0 to 9, - and _", name)
		case name == ipc.Supervisor:
			c.fail(keyNode, join(key, name), "the name is taken by the supervisor itself; choose another")
		}
		p := defaultPort(name)
		nodes = append(nodes, c.port(join(key, name), keyNode, value, &p))
		conf.Ports = append(conf.Ports, p)
	})
	if len(conf.Ports) == 0 && isMapping(n) {
		c.fail(n, key, "there are none; name at least one, as in ports: {gps: {device: /dev/ttyUSB0}}")
	}
	c.checkDevices(conf.Ports, nodes)
	c.checkForwards(conf.Ports, nodes)
}

// port takes one port.
func (c *collector) port(key string, keyNode, n ast.Node, p *Port) portNodes {
	var nodes portNodes
	fields := []field{
		{"device", func(key string, n ast.Node) {
			nodes.device = n
			c.path(&p.Device)(key, n)
		}},
		{"usb", func(key string, n ast.Node) {
			nodes.device = n
			p.USB = c.usb(key, n)
		}},
		{"settle", c.durationUpTo(longestSettle, &p.Settle)},
		{"framing", func(key string, n ast.Node) { c.framing(key, n, &p.Framing) }},
		{"tx_framing", func(key string, n ast.Node) { c.framing(key, n, &p.TxFraming) }},
		{"forward_to", func(key string, n ast.Node) { nodes.forward = c.forward(key, n, p) }},
		{"queue", func(key string, n ast.Node) { c.queue(key, n, &p.Queue) }},
	}
	at := map[string]ast.Node{}
	present := c.mapping(n, key, append(fields, c.settings(&p.Settings, at)...)...)
	switch {
	case !isMapping(n):
	case !present["device"] && !present["usb"]:
		c.fail(keyNode, key+".device", "missing; set it to a path such as /dev/ttyUSB0 or /dev/serial/by-id/…, or say usb: {vid: …, pid: …}")
	case present["device"] && present["usb"]:
		c.fail(nodes.device, key+".usb", "device: and usb: both say which device it is; leave one out")
	}
	if !present["tx_framing"] {
		p.TxFraming = p.Framing
	}
	c.checkSettings(key, at, p.Settings)
	return nodes
}

// forward takes a list of ports, or a single one, and returns where each stands.
func (c *collector) forward(key string, n ast.Node, p *Port) []ast.Node {
	names, nodes := c.names(key, n, "a port's name")
	p.ForwardTo = names
	if len(p.ForwardTo) > mostForwards {
		c.fail(n, key, "there are %d; a port forwards to %d at most", len(p.ForwardTo), mostForwards)
	}
	return nodes
}

// mostForwards is how many ports a port can forward to: its memory notes for each how far it has got.
const mostForwards = 32

// queue takes a storage or a mapping.
func (c *collector) queue(key string, n ast.Node, q *Queue) {
	if isScalar(n) {
		c.storage(&q.Storage)(key, n)
		return
	}
	c.mapping(n, key,
		field{"storage", c.storage(&q.Storage)},
		field{"max_messages", c.number(1, 100_000_000, func(v int64) { q.MaxMessages = v })},
		field{"max_age", c.durationUpTo(longestAge, &q.MaxAge)},
	)
}

// checkDevices finds two ports with one device, by its path and where it leads to, or by what is looked for.
func (c *collector) checkDevices(ports []Port, nodes []portNodes) {
	owners := map[string]int{}
	for i, p := range ports {
		key, name, same := "device", p.Device, ""
		switch {
		case p.USB != nil:
			key, name = "usb", p.USB.String()
			same = name
		case p.Device != "":
			same = filepath.Clean(p.Device)
			if real, err := filepath.EvalSymlinks(same); err == nil {
				same = real
			}
		default:
			continue
		}
		if first, taken := owners[same]; taken {
			line, _ := position(nodes[first].device)
			c.fail(nodes[i].device, "ports."+p.Name+"."+key, "%s is the device of port %s too, in line %d; a device belongs to one port, which many programs can use",
				name, ports[first].Name, line)
			continue
		}
		owners[same] = i
	}
}

// leastForwarded is the least max_bytes of a port that others forward to: a forwarded frame has up to 222 bytes of headers,
// which the queue's stream counts.
const leastForwarded = 256

func (c *collector) checkForwards(ports []Port, nodes []portNodes) {
	var names []string
	for _, p := range ports {
		names = append(names, p.Name)
	}
	for i, p := range ports {
		for j, name := range p.ForwardTo {
			key := "ports." + p.Name + ".forward_to"
			target := slices.Index(names, name)
			switch {
			case target < 0:
				c.fail(nodes[i].forward[j], key, "there is no port %q; there are %s", name, strings.Join(names, ", "))
			case ports[target].TxFraming.MaxBytes < leastForwarded:
				c.fail(nodes[i].forward[j], key, "port %s has framing.max_bytes: %d, and what is forwarded needs at least %d, as its headers count",
					name, ports[target].TxFraming.MaxBytes, leastForwarded)
			}
		}
	}
}
