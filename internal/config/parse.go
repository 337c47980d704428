package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Parse reads a file's content. The error is of type Problems and has everything that is wrong.
func Parse(path string, data []byte) (*Config, error) {
	c := &collector{file: path}
	conf := defaults(path)
	root := c.parseYAML(data)
	if root != nil {
		c.config(root, conf)
	}
	if len(c.problems) > 0 {
		return nil, c.sorted()
	}
	return conf, nil
}

// parseYAML returns the document, or nil when there is none that could be looked into.
func (c *collector) parseYAML(data []byte) ast.Node {
	if len(data) > largestFile {
		c.problems = append(c.problems, Problem{c.file, 1, 1, "", fmt.Sprintf("the file is larger than %s, which no config is; is it the right file?", formatSize(largestFile))})
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		c.problems = append(c.problems, Problem{c.file, 1 + bytes.Count(data[:firstInvalid(data)], []byte("\n")), 1, "", "the file is not UTF-8 text"})
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	if p := tooDeep(c.file, tokens); p != nil {
		c.problems = append(c.problems, *p)
		return nil
	}
	// Keys that stand twice are found later, together with everything else.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		c.problems = append(c.problems, syntaxProblem(c.file, err, tokens))
		return nil
	}
	if len(file.Docs) > 1 {
		c.fail(file.Docs[1].Body, "", "a second document begins here; a config is one")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.CommentType {
		c.problems = append(c.problems, Problem{c.file, 1, 1, "ports", "missing; name at least one, as in ports: {gps: {device: /dev/ttyUSB0}}"})
		return nil
	}
	return file.Docs[0].Body
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data)
}

func syntaxProblem(file string, err error, tokens token.Tokens) Problem {
	p := Problem{File: file, Line: 1, Column: 1, Message: "not YAML: " + err.Error()}
	var syntax interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &syntax) {
		p.Message = "not YAML: " + syntax.GetMessage()
		if t := syntax.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = max(t.Position.Line, 1), max(t.Position.Column, 1)
			if open := unclosed(tokens, t.Position); open != nil {
				p.Message += fmt.Sprintf("; is the %s in line %d, column %d closed?", open.Value, open.Position.Line, open.Position.Column)
			}
		}
	}
	return p
}

// unclosed is the bracket that is open at a place: where the parser finds that out can be many lines behind it.
func unclosed(tokens token.Tokens, at *token.Position) *token.Token {
	var open []*token.Token
	for _, t := range tokens {
		if t.Position == nil || t.Position.Offset >= at.Offset {
			break
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, t)
		case token.SequenceEndType, token.MappingEndType:
			open = open[:max(0, len(open)-1)]
		}
	}
	if len(open) == 0 {
		return nil
	}
	return open[len(open)-1]
}

var (
	rootPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	namePattern = regexp.MustCompile(`^[^\s.*>/\\]+$`)
)

// config takes the whole document.
func (c *collector) config(root ast.Node, conf *Config) {
	var workers, users, leaf, name ast.Node
	present := c.mapping(root, "",
		field{"name", func(key string, n ast.Node) {
			name = n
			c.gatewayName(&conf.Name)(key, n)
		}},
		field{"subject_root", c.subjectRoot(&conf.SubjectRoot)},
		field{"state_dir", func(key string, n ast.Node) {
			c.path(&conf.StateDir)(key, n)
			conf.StateDir = conf.besideFile(conf.StateDir)
		}},
		field{"log", func(key string, n ast.Node) { c.log(key, n, &conf.Log) }},
		field{"broker", func(key string, n ast.Node) {
			users, leaf = c.broker(key, n, conf)
		}},
		field{"history", func(key string, n ast.Node) { c.history(key, n, &conf.History) }},
		field{"metrics", func(key string, n ast.Node) { c.metrics(key, n, &conf.Metrics) }},
		field{"ports", func(key string, n ast.Node) { c.ports(key, n, conf) }},
		field{"workers", func(key string, n ast.Node) { workers = n }},
	)
	c.checkListeners(conf)
	if leaf != nil { // when the name is known
		c.checkLeaf(leaf, name, conf)
	}
	if users != nil { // when all ports are known
		c.users("broker.users", users, conf)
	}
	if workers != nil { // when all ports are known
		c.workers("workers", workers, conf)
	}
	if !present["ports"] && isMapping(root) {
		c.problems = append(c.problems, Problem{c.file, 1, 1, "ports", "missing; name at least one, as in ports: {gps: {device: /dev/ttyUSB0}}"})
	}
}

func isMapping(n ast.Node) bool {
	switch plain(n).(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.NullNode:
		return true
	}
	return false
}

func (c *collector) gatewayName(to *string) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		if !isScalar(n) || !namePattern.MatchString(text(n)) {
			c.fail(n, key, "%s cannot be a name; use letters, digits, - and _", described(n))
			return
		}
		*to = text(n)
	}
}

func (c *collector) subjectRoot(to *string) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		if !isScalar(n) || !rootPattern.MatchString(text(n)) {
			c.fail(n, key, "%s cannot begin a subject; use letters, digits, - and _, in parts joined by dots, such as plant1.serial", described(n))
			return
		}
		*to = text(n)
	}
}

func (c *collector) log(key string, n ast.Node, l *Log) {
	c.mapping(n, key,
		field{"level", c.choice([]string{"debug", "info", "warn", "error"}, func(s string) {
			_ = l.Level.UnmarshalText([]byte(s)) // all choices are levels
		})},
		field{"format", c.choice([]string{"text", "json"}, func(s string) { l.Format = s })},
	)
}

func (c *collector) history(key string, n ast.Node, h *History) {
	c.mapping(n, key,
		field{"storage", c.storage(&h.Storage)},
		field{"max_age", c.durationUpTo(longestAge, &h.MaxAge)},
		field{"max_bytes", c.size(1<<20, 1<<50, func(v int64) { h.MaxBytes = v })},
		field{"sync", func(key string, n ast.Node) {
			if text(n) == "always" {
				h.SyncAlways = true
				return
			}
			if v, err := parseDuration(text(n)); !isScalar(n) || err != nil || v == 0 {
				c.fail(n, key, "%s is not known; write a duration such as 2s, or always", described(n))
			} else {
				c.durationUpTo(longestSync, &h.Sync)(key, n)
			}
		}},
	)
}

func (c *collector) storage(to *Storage) func(string, ast.Node) {
	return c.choice([]string{string(File), string(Memory), string(None)}, func(s string) { *to = Storage(s) })
}
