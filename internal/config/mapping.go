package config

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// field is a key that may stand in a mapping, and what takes its value.
type field struct {
	name string
	take func(key string, value ast.Node)
}

// mapping gives each value of a mapping to its field, and returns the names that were there. Unknown keys and ones that
// come twice are problems.
func (c *collector) mapping(n ast.Node, key string, fields ...field) map[string]bool {
	present := map[string]bool{}
	c.entries(n, key, func(name string, keyNode, value ast.Node) {
		for _, f := range fields {
			if f.name == name {
				present[name] = true
				f.take(join(key, name), value)
				return
			}
		}
		if name == "<<" {
			c.fail(keyNode, join(key, name), "merge keys and aliases are not supported; write the keys out")
			return
		}
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		if near := nearest(name, names); near != "" {
			c.fail(keyNode, join(key, name), "unknown key; did you mean %s?", near)
			return
		}
		c.fail(keyNode, join(key, name), "unknown key; there are %s", strings.Join(names, ", "))
	})
	return present
}

// entries passes the entries of a mapping on, each name once.
func (c *collector) entries(n ast.Node, key string, pass func(name string, keyNode, value ast.Node)) {
	var values []*ast.MappingValueNode
	switch m := plain(n).(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	case *ast.NullNode:
		return
	case *ast.AliasNode:
		c.fail(n, key, "aliases are not supported; write the keys out")
		return
	default:
		c.fail(n, key, "%s is not a mapping; write keys and values, as in {key: value}", described(n))
		return
	}
	seen := map[string]ast.Node{}
	for _, v := range values {
		name := v.Key.GetToken().Value
		if first, twice := seen[name]; twice {
			line, _ := position(first)
			c.fail(v.Key, join(key, name), "stands here for the second time; the first is in line %d", line)
			continue
		}
		seen[name] = v.Key
		pass(name, v.Key, v.Value)
	}
}

// plain looks through anchors and tags. Aliases and merge keys are refused where they are used: with so few keys they
// would hide more than they save.
func plain(n ast.Node) ast.Node {
	for {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.TagNode:
			n = v.Value
		default:
			return n
		}
	}
}

// described names a node in a message: its text, or what it is.
func described(n ast.Node) string {
	switch plain(n).(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.AliasNode:
		return "an alias, which is not supported here,"
	}
	return `"` + text(n) + `"`
}

// text is a scalar's text without its quotes.
func text(n ast.Node) string {
	switch v := plain(n).(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case nil:
		return ""
	default:
		return v.GetToken().Value
	}
}

// isScalar says whether n is a single value.
func isScalar(n ast.Node) bool {
	switch plain(n).(type) {
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return true
	}
	return false
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// nearest finds the known name that a mistyped one was meant to be, if one is near.
func nearest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(name), k); d < least && 2*d < len(k) {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace to make b of a (Levenshtein 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, cost)
		}
	}
	return row[len(b)]
}
