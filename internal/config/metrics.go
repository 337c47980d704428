package config

import "github.com/goccy/go-yaml/ast"

// metrics takes where to listen. Whoever reaches it reads what there is to read, so that others than this machine may is
// said twice.
func (c *collector) metrics(key string, n ast.Node, m *Metrics) {
	var at ast.Node
	insecure := false
	c.mapping(n, key,
		field{"listen", func(key string, n ast.Node) {
			at = n
			c.address(&m.Listen, "127.0.0.1:9464")(key, n)
		}},
		field{"insecure", c.toggle(&insecure)},
	)
	switch {
	case at == nil && isMapping(n):
		c.fail(n, key+".listen", "missing; write host:port, such as 127.0.0.1:9464, or leave %s out", key)
	case m.Listen != "" && !insecure && !isLoopback(m.Listen):
		c.fail(at, key+".listen", "%s can be reached from other machines, which need no password; use 127.0.0.1, or add insecure: true beside it", described(at))
	}
}
