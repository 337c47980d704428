package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"
)

// str takes a text that is not empty.
func (c *collector) str(to *string) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		switch {
		case !isScalar(n) || text(n) == "":
			c.fail(n, key, "%s is not a text; write one", described(n))
		case strings.ContainsFunc(text(n), unicode.IsControl):
			c.fail(n, key, "%q has a control character in it; leave that out", text(n))
		default:
			*to = text(n)
		}
	}
}

// path takes the path of a file, folder or device.
func (c *collector) path(to *string) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		if _, text := plain(n).(*ast.StringNode); !text {
			c.fail(n, key, "%s is not a path; write one, in quotes if it looks like a number", described(n))
			return
		}
		c.str(to)(key, n)
	}
}

// choice takes one of some words.
func (c *collector) choice(words []string, take func(string)) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		if !isScalar(n) || !slices.Contains(words, text(n)) {
			c.fail(n, key, "%s is not known; use %s", described(n), alternatives(words))
			return
		}
		take(text(n))
	}
}

func alternatives(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// number takes a whole number within limits.
func (c *collector) number(least, most int64, take func(int64)) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		v, err := strconv.ParseInt(text(n), 10, 64)
		if !isScalar(n) || err != nil || v < least || v > most {
			c.fail(n, key, "%s is not a whole number from %d to %d", described(n), least, most)
			return
		}
		take(v)
	}
}

// duration takes a duration in Go's form that is not negative.
func (c *collector) duration(to *time.Duration) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		v, err := parseDuration(text(n))
		if errors.Is(err, errNegative) && isScalar(n) {
			c.fail(n, key, "%s is negative; write a duration from 0 on, such as 50ms, 2s, 10m or 24h", described(n))
			return
		}
		if !isScalar(n) || err != nil {
			c.fail(n, key, "%s is not a duration; write a number and a unit, such as 50ms, 2s, 10m or 24h", described(n))
			return
		}
		*to = v
	}
}

// The longest durations: what is longer is a mistake, after which a port would seem dead.
const (
	longestSettle  = 10 * time.Minute
	longestSilence = time.Hour
	longestSync    = time.Hour
	longestWait    = 24 * time.Hour
	longestAge     = 10 * 365 * 24 * time.Hour
)

// durationUpTo is duration with a limit.
func (c *collector) durationUpTo(most time.Duration, to *time.Duration) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		c.duration(to)(key, n)
		if *to > most {
			c.fail(n, key, "%s is out of range; it can be up to %s", described(n), formatDuration(most))
		}
	}
}

// formatDuration is Go's form without the zeros at its end: 10m, not 10m0s.
func formatDuration(v time.Duration) string {
	text := v.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

var errNegative = errors.New("negative")

func parseDuration(s string) (time.Duration, error) {
	v, err := time.ParseDuration(s)
	if err == nil && v < 0 {
		return 0, errNegative
	}
	return v, err
}

// size takes a number of bytes within limits, with a unit or without.
func (c *collector) size(least, most int64, take func(int64)) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		v, err := parseSize(text(n))
		switch {
		case !isScalar(n) || err != nil:
			c.fail(n, key, "%s is not a size; write a number of bytes, or one with B, KiB, MiB or GiB, such as 256MiB", described(n))
		case v < least || v > most:
			c.fail(n, key, "%s is out of range; it can be from %s to %s", described(n), formatSize(least), formatSize(most))
		default:
			take(v)
		}
	}
}

var sizeUnits = []struct {
	name   string
	factor int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

func parseSize(s string) (int64, error) {
	factor := int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			s, factor = strings.TrimSpace(number), u.factor
			break
		}
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, err
	}
	if v < 0 || v > math.MaxInt64/factor {
		return 0, strconv.ErrRange
	}
	return v * factor, nil
}

func formatSize(v int64) string {
	for _, u := range []int{2, 1, 0} {
		if unit := sizeUnits[u]; v >= unit.factor && v%unit.factor == 0 {
			return fmt.Sprintf("%d%s", v/unit.factor, unit.name)
		}
	}
	return fmt.Sprintf("%dB", v)
}

// somePorts takes the ports that somebody may have to do with, who without them may with all.
func (c *collector) somePorts(to *[]string, nodes *[]ast.Node) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		if isEmptyList(n) {
			c.fail(n, key, "empty; leave it out for all ports, or name some")
			return
		}
		*to, *nodes = c.names(key, n, "a port's name")
	}
}

func isEmptyList(n ast.Node) bool {
	s, ok := plain(n).(*ast.SequenceNode)
	return ok && len(s.Values) == 0
}

// names takes a list of names, or a single one, and returns where each stands.
func (c *collector) names(key string, n ast.Node, what string) (names []string, nodes []ast.Node) {
	list := []ast.Node{n}
	if s, ok := plain(n).(*ast.SequenceNode); ok {
		list = s.Values
	}
	for _, item := range list {
		switch {
		case !isScalar(item):
			c.fail(item, key, "%s is not %s", described(item), what)
		case slices.Contains(names, text(item)):
			c.fail(item, key, "%s stands there twice", described(item))
		default:
			names, nodes = append(names, text(item)), append(nodes, item)
		}
	}
	return names, nodes
}
