package config

import (
	"fmt"

	"github.com/goccy/go-yaml/token"
)

const (
	// largestFile is the largest config in bytes. The YAML library's time grows with the square of what a mapping holds:
	// 256 KiB take 10 s at worst, 1 MiB minutes, and 256 KiB have room for more than a thousand ports.
	largestFile = 256 << 10
	// deepest is how far collections may be nested. A valid config has 5 levels; the library needs memory for each level
	// as for all those inside, so that 200 kB of [[[[ would take all that the machine has.
	deepest = 32
)

// tooDeep looks at the tokens of a file, which are cheap to make, for the first that begins a collection too far inside
// others.
func tooDeep(file string, tokens token.Tokens) *Problem {
	var open nest
	line := 0
	for i, t := range tokens {
		begins := t.Position.Line > line
		line = max(line, t.Position.Line)
		if begins {
			open.dedent(t.Position.Column)
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, level{flow: true})
		case token.SequenceEndType, token.MappingEndType:
			open.close()
		case token.CollectEntryType:
			open.entry()
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			open = append(open, level{column: t.Position.Column})
		case token.MappingValueType:
			if i > 0 {
				open = append(open, level{column: tokens[i-1].Position.Column})
			}
		}
		if len(open) > deepest {
			return &Problem{file, max(t.Position.Line, 1), max(t.Position.Column, 1), "", fmt.Sprintf("nested more than %d levels deep; a config has 5 at most", deepest)}
		}
	}
	return nil
}

// level is a collection that a token stands in: in brackets or braces, or by its column.
type level struct {
	flow   bool
	column int
}

// nest are the collections that a token stands in, the innermost last.
type nest []level

// dedent ends what a line that begins at a column is not part of.
func (n *nest) dedent(column int) {
	for len(*n) > 0 && !n.last().flow && n.last().column >= column {
		*n = (*n)[:len(*n)-1]
	}
}

// entry ends what an entry has within its brackets.
func (n *nest) entry() {
	for len(*n) > 0 && !n.last().flow {
		*n = (*n)[:len(*n)-1]
	}
}

// close ends the innermost brackets.
func (n *nest) close() {
	n.entry()
	if len(*n) > 0 {
		*n = (*n)[:len(*n)-1]
	}
}

func (n nest) last() level { return n[len(n)-1] }
