package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	File         string
	Line, Column int // from 1
	Key          string
	Message      string // what is wrong, and what would be right
}

// String is file:line:column: key: message.
func (p Problem) String() string {
	if p.Key == "" {
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Key, p.Message)
}

// Problems is everything that is wrong with a file, in its order.
type Problems []Problem

// Error has a line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// collector gathers problems while a file is read.
type collector struct {
	file      string
	problems  Problems
	listeners []listener
}

// fail notes a problem with the value or key that n is.
func (c *collector) fail(n ast.Node, key, format string, args ...any) {
	line, column := position(n)
	c.problems = append(c.problems, Problem{c.file, line, column, key, fmt.Sprintf(format, args...)})
}

// sorted is what was gathered, by position.
func (c *collector) sorted() Problems {
	slices.SortStableFunc(c.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return c.problems
}

// position is where a node begins; 1:1 if it does not say.
func position(n ast.Node) (line, column int) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key // the mapping's own token is a colon
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1, 1
	}
	at := n.GetToken().Position
	return max(at.Line, 1), max(at.Column, 1)
}
