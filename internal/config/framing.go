package config

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/serialvisor/serialvisor/internal/frame"
)

// framingKeys are the keys of a framing, beside type, with the types that have them.
var framingKeys = map[string][]string{
	"max_bytes":     {frame.Line, frame.Raw, frame.Length, frame.GapType, frame.Slip, frame.Cobs},
	"idle_flush":    {frame.Line, frame.Raw, frame.Fixed, frame.Length, frame.Slip, frame.Cobs},
	"delimiter":     {frame.Line},
	"bytes":         {frame.Fixed},
	"gap":           {frame.GapType},
	"size":          {frame.Length},
	"byte_order":    {frame.Length},
	"offset":        {frame.Length},
	"counts_itself": {frame.Length},
	"extra":         {frame.Length},
}

// escapes is what has a meaning in double quotes alone, and is nobody's delimiter as it stands.
var escapes = regexp.MustCompile(`^(\\[0abtnvfre]|\\x[0-9A-Fa-f]{2})+$`)

func doubleQuoted(n ast.Node) bool { return plain(n).GetToken().Type == token.DoubleQuoteType }

// framing takes a name or a mapping.
func (c *collector) framing(key string, n ast.Node, to *frame.Spec) {
	at := map[string]ast.Node{}
	types := c.choice(frame.Types, func(s string) { to.Type = s })
	before := len(c.problems)
	if isScalar(n) {
		types(key, n)
	} else {
		c.framingMapping(key, n, to, types, at)
	}
	if to.Type != frame.Line {
		to.Delimiter = nil
	}
	if to.Type == frame.Length && to.ByteOrder == "" {
		to.ByteOrder = frame.BigEndian
	}
	for _, name := range []string{"bytes", "gap", "size"} { // in which the types that need one have it
		if needed := framingKeys[name][0]; to.Type == needed && at[name] == nil {
			c.fail(n, key+"."+name, "missing; %s framing needs it, as in %s", needed, framingExamples[needed])
		}
	}
	if len(c.problems) > before {
		return
	}
	if err := to.Validate(); err != nil { // what is right each and wrong together
		place := n
		for _, name := range []string{"offset", "size"} {
			if at[name] != nil {
				place = at[name]
				break
			}
		}
		c.fail(place, key, "%v", err)
	}
}

var framingExamples = map[string]string{
	frame.Fixed: "{type: fixed, bytes: 16}", frame.GapType: "{type: gap, gap: 5ms}", frame.Length: "{type: length, size: 2}",
}

func (c *collector) framingMapping(key string, n ast.Node, to *frame.Spec, types func(string, ast.Node), at map[string]ast.Node) {
	fields := []field{
		{"type", types},
		{"max_bytes", c.size(1, frame.MaxFrameBytes, func(v int64) { to.MaxBytes = int(v) })},
		{"idle_flush", c.durationUpTo(longestSilence, &to.IdleFlush)},
		{"delimiter", func(key string, n ast.Node) {
			if length := len(text(n)); !isScalar(n) || length < 1 || length > frame.MaxDelimiterBytes {
				c.fail(n, key, "%s has %d bytes; a delimiter has 1 to %d, as in \"\\r\\n\" with double quotes", described(n), length, frame.MaxDelimiterBytes)
				return
			}
			if escapes.MatchString(text(n)) && !doubleQuoted(n) {
				c.fail(n, key, "%s are %d characters, as a backslash is one like any other there; write \"%s\" with double quotes, where it has a meaning",
					described(n), len(text(n)), text(n))
				return
			}
			to.Delimiter = []byte(text(n))
		}},
		{"bytes", c.size(1, frame.MaxFrameBytes, func(v int64) { to.Bytes = int(v) })},
		{"gap", func(key string, n ast.Node) {
			v, err := parseDuration(text(n))
			if !isScalar(n) || err != nil || v == 0 {
				c.fail(n, key, "%s is no silence that could end a frame; write a duration above 0, such as 5ms", described(n))
				return
			}
			c.durationUpTo(longestSilence, &to.Gap)(key, n)
		}},
		{"size", c.choice([]string{"1", "2", "4"}, func(s string) { to.Size, _ = strconv.Atoi(s) })},
		{"byte_order", c.choice([]string{frame.BigEndian, frame.LittleEndian}, func(s string) { to.ByteOrder = s })},
		{"offset", c.number(0, frame.MaxFrameBytes, func(v int64) { to.Offset = int(v) })},
		{"counts_itself", c.toggle(&to.CountsItself)},
		{"extra", c.number(-frame.MaxFrameBytes, frame.MaxFrameBytes, func(v int64) { to.Extra = int(v) })},
	}
	for i := range fields {
		take := fields[i].take
		fields[i].take = func(key string, n ast.Node) {
			at[fields[i].name] = n
			take(key, n)
		}
	}
	present := c.mapping(n, key, fields...)
	if !present["type"] && isMapping(n) {
		c.fail(n, key+".type", "missing; use %s", alternatives(frame.Types))
		return
	}
	for name, node := range at {
		if types, ok := framingKeys[name]; ok && !slices.Contains(types, to.Type) {
			c.fail(node, key+"."+name, "%s framing has no %s; leave it out, or use type: %s", to.Type, name, alternatives(types))
		}
	}
}
