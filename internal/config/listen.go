package config

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// listener is an address that something listens on.
type listener struct {
	key     string
	at      ast.Node // nil: it is not in the file
	address string   // empty: it is none
}

// address takes a host and port; usual is one for the message.
func (c *collector) address(to *string, usual string) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		host, port, err := net.SplitHostPort(text(n))
		number, numberErr := strconv.ParseUint(port, 10, 16)
		if !isScalar(n) || err != nil || numberErr != nil || number > 65535 || strings.ContainsAny(host, " /") {
			c.listeners = append(c.listeners, listener{key, n, ""})
			c.fail(n, key, "%s is not an address; write host:port, such as %s, with port 0 for a free one", described(n), usual)
			return
		}
		*to = text(n)
		c.listeners = append(c.listeners, listener{key, n, *to})
	}
}

// checkListeners finds two that cannot have their addresses both.
func (c *collector) checkListeners(conf *Config) {
	const first = "broker.listen"
	all := slices.Clone(c.listeners)
	slices.SortStableFunc(all, func(a, b listener) int {
		aLine, aColumn := position(a.at)
		bLine, bColumn := position(b.at)
		return cmp.Or(cmp.Compare(aLine, bLine), cmp.Compare(aColumn, bColumn))
	})
	if !slices.ContainsFunc(all, func(l listener) bool { return l.key == first }) {
		all = append([]listener{{key: first, address: conf.Broker.Listen}}, all...)
	}
	for i, l := range all {
		other := slices.IndexFunc(all[:i], func(o listener) bool { return collide(o.address, l.address) })
		if other < 0 {
			continue
		}
		o, where := all[other], "without being told"
		if o.at != nil {
			line, _ := position(o.at)
			where = "in line " + strconv.Itoa(line)
		}
		c.fail(l.at, l.key, "%s cannot be listened on by %s and by %s, which has %s, %s; choose another port", described(l.at), l.key, o.key, o.address, where)
	}
}

// collide says whether only one can listen on two addresses. Of names that are not the same nobody knows.
func collide(a, b string) bool {
	aHost, aPort := listened(a)
	bHost, bPort := listened(b)
	if aPort == 0 || aPort != bPort {
		return false
	}
	if strings.EqualFold(aHost, bHost) {
		return true
	}
	aIP, aErr := netip.ParseAddr(aHost)
	bIP, bErr := netip.ParseAddr(bHost)
	if aErr != nil || bErr != nil {
		return false
	}
	takes := func(all, one netip.Addr) bool { return all.IsUnspecified() && (all.Is6() || one.Is4()) } // :: is that of IPv4, too
	return aIP == bIP || takes(aIP, bIP) || takes(bIP, aIP)
}

// listened takes an address apart; port 0: it is none, or any.
func listened(address string) (host string, port uint64) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0
	}
	port, _ = strconv.ParseUint(text, 10, 16) // 0 with an error
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	return host, port
}

// isLoopback says whether only this machine reaches an address.
func isLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// origins takes those of pages, in the form in which browsers say them.
func (c *collector) origins(to *[]string) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		list, nodes := c.names(key, n, `an origin such as "https://lab.example", in quotes`)
		for i, item := range list {
			switch {
			case isOrigin(item):
				*to = append(*to, item)
			case isOrigin("https://" + item):
				c.fail(nodes[i], key, "%s is not an origin, which is scheme://host[:port]; write https://%s", described(nodes[i]), item)
			default:
				c.fail(nodes[i], key, "%s is not an origin, which is scheme://host[:port]; write one such as https://lab.example", described(nodes[i]))
			}
		}
	}
}

func isOrigin(text string) bool {
	u, err := url.ParseRequestURI(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" && u.Path != "/" || strings.ContainsAny(text, "*?#") {
		return false
	}
	return u.Hostname() != "" && !strings.HasSuffix(u.Host, ":")
}
